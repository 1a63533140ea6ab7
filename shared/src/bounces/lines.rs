//! Lines and headers of mail that no standard describes: any line end, folding that was lost, names in any case.

/// CRLF and lone CR become LF.
pub(super) fn unix(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\r' {
            out.push(byte);
            continue;
        }
        if bytes.peek() != Some(&b'\n') {
            out.push(b'\n');
        }
    }
    out
}

/// UTF-8 where it is, otherwise the superset of Latin-1 that mail programs mean.
pub(super) fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned(),
    }
}

/// Header fields in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// Reads fields up to the first empty line; returns what follows it. A line that is no field continues the one before it, whether
    /// it is indented or not: some servers lose the indent.
    pub fn read(text: &str) -> (Self, &str) {
        let mut fields: Vec<(String, String)> = Vec::new();
        let mut rest = text;
        while let Some((line, after)) = next_line(rest) {
            if line.trim().is_empty() {
                return (Self(fields), after);
            }
            if line.starts_with("--") {
                // A delimiter where a body should begin: the empty line is missing.
                return (Self(fields), rest);
            }
            rest = after;
            match field(line) {
                Some((name, value)) => fields.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None => {
                    if let Some((_, value)) = fields.last_mut() {
                        value.push(' ');
                        value.push_str(line.trim());
                    }
                }
            }
        }
        (Self(fields), "")
    }

    /// The first field of that name, given in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All fields of that name, given in lower case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of a field such as `boundary`.
    pub fn parameter(&self, field: &str, name: &str) -> Option<String> {
        let value = self.get(field)?;
        let lower = value.to_ascii_lowercase();
        let mut from = 0;
        while let Some(at) = lower.get(from..)?.find(name).map(|at| at + from) {
            from = at + name.len();
            let alone = lower[..at].ends_with([';', ' ', '\t', '"']) || at == 0;
            let Some(rest) = value.get(from..).map(str::trim_start).filter(|rest| alone && rest.starts_with('=')) else { continue };
            let rest = rest[1..].trim_start();
            return Some(match rest.strip_prefix('"') {
                Some(quoted) => quoted.split('"').next().unwrap_or_default().to_owned(),
                None => rest.split([';', ' ', '\t']).next().unwrap_or_default().to_owned(),
            });
        }
        None
    }
}

/// The line without its end, and what follows.
pub(super) fn next_line(text: &str) -> Option<(&str, &str)> {
    (!text.is_empty()).then(|| text.split_once('\n').unwrap_or((text, "")))
}

/// `Name: value`, at the start of a line.
pub(super) fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let sound =
        !name.is_empty() && name.len() < 80 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    (sound && !value.starts_with("//")).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_end_becomes_one() {
        assert_eq!(unix(b"a\r\nb\rc\n\r\n"), b"a\nb\nc\n\n");
    }

    #[test]
    fn a_parameter_is_found_where_the_indent_was_lost() {
        let (headers, rest) = Headers::read("Content-Type: multipart/report; report-type=x;\nboundary=\"a b\"\nTo: x\n\nbody");
        assert_eq!(headers.parameter("content-type", "boundary").as_deref(), Some("a b"));
        assert_eq!((headers.get("to"), rest), (Some("x"), "body"));
    }
}
