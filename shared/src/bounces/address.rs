//! Addresses in text.

/// The longest that is an address (RFC 5321 section 4.5.3.1.3).
const LONGEST: usize = 320;

/// An address and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub address: &'a str,
    pub start: usize,
    pub end: usize,
}

/// All addresses of a text, in its order.
pub(super) fn all(text: &str) -> Vec<Found<'_>> {
    let bytes = text.as_bytes();
    let mut found: Vec<Found<'_>> = Vec::new();
    let mut from = 0;
    while let Some(at) = memchr(bytes, from) {
        let floor = found.last().map_or(0, |last| last.end);
        let start = local_part(bytes, floor, at);
        let end = domain(bytes, at + 1);
        from = end.max(at + 1);
        if start < at && end > at + 1 && end - start <= LONGEST && text.is_char_boundary(start) && text.is_char_boundary(end) {
            found.push(Found { address: &text[start..end], start, end });
        }
    }
    found
}

/// The first address of a text.
pub(super) fn first(text: &str) -> Option<&str> {
    all(text).into_iter().next().map(|found| found.address)
}

fn memchr(bytes: &[u8], from: usize) -> Option<usize> {
    bytes.get(from..)?.iter().position(|byte| *byte == b'@').map(|at| at + from)
}

/// Where the local part that ends before `at` begins.
fn local_part(bytes: &[u8], floor: usize, at: usize) -> usize {
    // "quoted local part"@example.com, on one line; `"ada@example.com"` is an address in quotes and is not meant.
    if at > floor && bytes[at - 1] == b'"' {
        let opening = bytes[floor..at - 1].iter().rposition(|b| matches!(b, b'"' | b'\n'));
        return opening.filter(|opening| bytes[floor + opening] == b'"').map_or(at, |opening| floor + opening);
    }
    let mut start = at;
    while start > floor && (bytes[start - 1].is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~.-".contains(&bytes[start - 1])) {
        start -= 1;
    }
    if start > floor && bytes[start - 1] >= 0x80 {
        // In another script only between angle brackets: a sentence may end right before an address.
        let word = bytes[floor..start].iter().rposition(|b| b.is_ascii_whitespace() || b"<>()[],;:\"@".contains(b));
        if let Some(before) = word.filter(|before| bytes[floor + before] == b'<') {
            return floor + before + 1;
        }
    }
    // What cannot begin an address stands before it: 'ada@example.com', to=ada@example.com, ...ada@example.com, -ada@example.com.
    let mut local = &bytes[start..at];
    for label in [&b"to="[..], b"rcpt=", b"recipient=", b"addr=", b"address=", b"email=", b"from=", b"mailfrom=", b"smtp="] {
        if local.len() > label.len() && local[..label.len()].eq_ignore_ascii_case(label) {
            local = &local[label.len()..];
        }
    }
    while local.len() > 1 && b"'`.*=|-/{&".contains(&local[0]) {
        local = &local[1..];
    }
    at - local.len()
}

/// Where the domain that begins at `start` ends.
fn domain(bytes: &[u8], start: usize) -> usize {
    if bytes.get(start) == Some(&b'[') {
        let close = bytes[start..].iter().take(48).position(|byte| *byte == b']');
        return close.map_or(start, |close| start + close + 1);
    }
    let mut end = start;
    while end < bytes.len()
        && (bytes[end].is_ascii_alphanumeric() || matches!(bytes[end], b'.' | b'-' | b'_') || bytes[end] >= 0x80 && idn(bytes, end))
    {
        end += 1;
    }
    while end > start && matches!(bytes[end - 1], b'.' | b'-' | b'_') {
        end -= 1;
    }
    end
}

/// A letter of an international domain, not the sentence behind it: only where a dot follows before any space.
fn idn(bytes: &[u8], at: usize) -> bool {
    let word = bytes[at..].iter().take(64).take_while(|byte| !byte.is_ascii_whitespace() && **byte != b'>');
    word.filter(|byte| **byte == b'.').count() > 0
        && bytes[..at].iter().rev().take_while(|byte| **byte != b'@').all(|byte| *byte >= 0x80 || byte.is_ascii_alphanumeric())
}

/// The value of a field such as `rfc822; <ada@example.com>`. The address, if it is one.
pub(super) fn of_field(value: &str) -> Option<String> {
    let (kind, value) = value.split_once(';').map_or(("", value), |(kind, rest)| (kind.trim(), rest.trim()));
    let decoded = kind.eq_ignore_ascii_case("utf-8").then(|| unescaped(value));
    let value = decoded.as_deref().unwrap_or(value).trim();
    let plain = value.trim_matches(|c: char| matches!(c, '<' | '>' | '"' | ' ' | '\''));
    // Letters that no ASCII address has, or an address as a whole.
    let whole = plain.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    if whole && !plain.is_ascii() && !plain.contains([' ', '<', '>', ',', '(', '/']) && plain.len() <= LONGEST {
        return Some(plain.to_owned());
    }
    if let Some(found) = all(value).into_iter().next() {
        return Some(found.address.to_owned());
    }
    // X.400: …/DDA.RFC-822=ada(a)example.com/
    let lower = value.to_ascii_lowercase();
    let at = lower.find("rfc-822=")?;
    let inner = value.get(at + 8..)?.split('/').next()?.replace("(a)", "@");
    first(&inner).map(str::to_owned)
}

/// Letters as an ASCII report spells them: `jos\x{E9}@example.com` (RFC 6533 section 3).
fn unescaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("\\x{") {
        let letter = after.split_once('}').and_then(|(digits, behind)| {
            let code = u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() <= 6)?;
            Some((char::from_u32(code)?, behind))
        });
        out.push_str(before);
        match letter {
            Some((letter, behind)) => {
                out.push(letter);
                rest = behind;
            }
            None => {
                out.push_str("\\x{");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// In the form that addresses are compared in.
pub(super) fn same(address: &str) -> String {
    address.trim_matches(['<', '>']).to_lowercase()
}

/// An address with a full domain.
pub(super) fn has_dot(address: &str) -> bool {
    address.rsplit_once('@').is_some_and(|(_, domain)| domain.contains('.') || domain.starts_with('['))
}

/// An address that no recipient of ours has: a mail system's own.
pub(super) fn is_role(address: &str) -> bool {
    let local = address.split('@').next().unwrap_or_default().to_ascii_lowercase();
    matches!(
        local.as_str(),
        "mailer-daemon"
            | "postmaster"
            | "abuse"
            | "support"
            | "help"
            | "helpdesk"
            | "noreply"
            | "no-reply"
            | "hostmaster"
            | "root"
            | "admin"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<&str> {
        all(text).into_iter().map(|found| found.address).collect()
    }

    #[test]
    fn addresses_are_found_in_what_surrounds_them() {
        assert_eq!(
            addresses("<ada@example.com>... 'bob@example.test', to=c@d.test: e@f.test."),
            ["ada@example.com", "bob@example.test", "c@d.test", "e@f.test"]
        );
        assert_eq!(
            addresses("\"ada lovelace\"@example.com und \"bob@example.test\":"),
            ["\"ada lovelace\"@example.com", "bob@example.test"]
        );
        assert_eq!(addresses("a@b@c @ @x y@ \"@\""), ["a@b"]);
        assert_eq!(
            addresses("Ada<mailto:ada@example.com> bo@[192.0.2.1] x@münchen.test"),
            ["ada@example.com", "bo@[192.0.2.1]", "x@münchen.test"]
        );
        assert_eq!(
            addresses("<用户@example.com>: unknown; 地址ada@example.com, <x 地bob@example.com>"),
            ["用户@example.com", "ada@example.com", "bob@example.com"]
        );
    }

    #[test]
    fn a_field_gives_its_address() {
        assert_eq!(of_field("rfc822; <ada@example.com>").as_deref(), Some("ada@example.com"));
        assert_eq!(of_field("utf-8; jürgen@example.com").as_deref(), Some("jürgen@example.com"));
        assert_eq!(of_field("utf-8; 用户@example.com").as_deref(), Some("用户@example.com"));
        assert_eq!(of_field("UTF-8; jos\\x{E9}.\\x{7528}@example.com").as_deref(), Some("josé.用@example.com"));
        assert_eq!(of_field("utf-8; a\\x{D800}").as_deref(), None);
        assert_eq!(unescaped("a\\x{D800}\\x{41}\\x{"), "a\\x{D800}A\\x{");
        assert_eq!(of_field("X400; /C=DE/A=X/DDA.RFC-822=ada(a)example.com/").as_deref(), Some("ada@example.com"));
        assert_eq!(of_field("rfc822;/var/spool/mail/ada"), None);
    }
}
