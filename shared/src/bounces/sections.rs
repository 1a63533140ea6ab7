//! The parts of a notice, flat: lenient where MIME is broken, since delivery reports often are.

use mail_parser::{
    MessageParser,
    decoders::{base64::base64_decode, quoted_printable::quoted_printable_decode},
};

use super::lines::{self, Headers, next_line};

/// How deep parts may nest, and how many there may be: no honest report comes near.
const DEEPEST: usize = 8;
const MOST: usize = 200;

/// What a part is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Words for people.
    Human,
    /// The same as a web page.
    Page,
    /// message/delivery-status.
    Status,
    /// message/feedback-report.
    Feedback,
    /// The message that came back, or its headers.
    Original,
    /// Pictures and the like.
    Other,
}

/// One part, decoded.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub role: Role,
    pub text: String,
}

/// A whole notice.
#[derive(Clone, Debug)]
pub(super) struct Mail {
    pub headers: Headers,
    pub sections: Vec<Section>,
}

impl Mail {
    /// Takes a message apart.
    pub fn read(raw: &[u8]) -> Self {
        let raw = lines::unix(raw);
        let whole = envelope(&raw);
        // The structure is ASCII; the bytes of a text are decoded later, with their own charset.
        let latin: String = whole.iter().map(|byte| char::from(*byte)).collect();
        let (headers, body) = Headers::read(&latin);
        let mut mail = Self { headers: spelled_out(readable(&headers)), sections: Vec::new() };
        mail.walk(&headers, body, 0);
        mail
    }

    fn walk(&mut self, headers: &Headers, body: &str, depth: usize) {
        if self.sections.len() >= MOST {
            return;
        }
        let kind = content_type(headers);
        if kind.starts_with("multipart/") && depth < DEEPEST {
            let parts = headers.parameter("content-type", "boundary").map(|boundary| split(body, &boundary)).unwrap_or_default();
            let found = parts.len();
            for part in parts {
                let (headers, body) = part_headers(part);
                self.walk(&headers, body, depth + 1);
            }
            if found > 0 {
                return;
            }
        }
        let text = decoded(headers, body);
        let role = role(&kind, headers, &text, depth == 0);
        // Original headers that stand where a part's own should be belong to the text.
        let text = match role {
            Role::Original if !is_message(&kind) => {
                let fields: String = readable(headers).0.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
                format!("{fields}\n{text}")
            }
            _ => text,
        };
        self.sections.push(Section { role, text });
    }

    /// The texts of all parts of a role.
    pub fn texts(&self, role: Role) -> impl Iterator<Item = &str> {
        self.sections.iter().filter(move |section| section.role == role).map(|section| section.text.as_str())
    }
}

/// Skips blank lines and the line that mbox files put before a message.
fn envelope(raw: &[u8]) -> &[u8] {
    let text = raw.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(raw.len());
    let start = raw[..text].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let raw = &raw[start..];
    match raw.strip_prefix(b"From ").or_else(|| raw.strip_prefix(b">From ")) {
        Some(_) => raw.iter().position(|byte| *byte == b'\n').map_or(&raw[raw.len()..], |end| &raw[end + 1..]),
        None => raw,
    }
}

/// Headers as text in place of bytes.
fn readable(headers: &Headers) -> Headers {
    Headers(headers.0.iter().map(|(name, value)| (name.clone(), lines::text(&bytes(value)))).collect())
}

/// The subject without encoded words.
fn spelled_out(mut headers: Headers) -> Headers {
    for (name, value) in &mut headers.0 {
        if name == "subject" && value.contains("=?") {
            let parsed = MessageParser::default()
                .parse_headers(format!("Subject: {value}\n\n").as_bytes())
                .and_then(|mail| mail.subject().map(str::to_owned));
            *value = parsed.unwrap_or_default();
        }
    }
    headers
}

fn bytes(latin: &str) -> Vec<u8> {
    latin.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

fn content_type(headers: &Headers) -> String {
    let value = headers.get("content-type").unwrap_or("text/plain");
    value.split([';', ' ', '\t']).next().unwrap_or_default().to_ascii_lowercase()
}

/// The pieces between the delimiters.
fn split<'a>(body: &'a str, boundary: &str) -> Vec<&'a str> {
    if boundary.is_empty() {
        return Vec::new();
    }
    let mut parts = Vec::new();
    let mut start = None;
    let mut rest = body;
    while let Some((line, after)) = next_line(rest) {
        let at = body.len() - rest.len();
        rest = after;
        // Some reports came through a program that indented the delimiter.
        let Some(tail) = line.trim_start_matches(' ').strip_prefix("--").and_then(|line| line.strip_prefix(boundary)) else {
            continue;
        };
        let tail = tail.trim_end();
        if !tail.is_empty() && tail != "--" {
            continue;
        }
        if let Some(start) = start.take() {
            parts.push(&body[start..at]);
        }
        if tail.is_empty() {
            start = Some(body.len() - after.len());
        }
    }
    parts.extend(start.map(|start| &body[start..]));
    parts
}

/// A part may have no header at all, not even the empty line.
fn part_headers(part: &str) -> (Headers, &str) {
    match next_line(part) {
        Some((line, _)) if !line.trim().is_empty() && lines::field(line).is_none() => (Headers::default(), part),
        _ => Headers::read(part),
    }
}

fn decoded(headers: &Headers, body: &str) -> String {
    let encoding = headers.get("content-transfer-encoding").unwrap_or_default().trim().to_ascii_lowercase();
    let plain = bytes(body);
    let raw = match encoding.as_str() {
        "base64" => base64_decode(&plain).unwrap_or(plain),
        "quoted-printable" => quoted_printable_decode(&plain).unwrap_or(plain),
        _ => plain,
    };
    let raw = lines::unix(&raw);
    let charset = headers.parameter("content-type", "charset").unwrap_or_default();
    let escapes = raw.contains(&0x1b);
    match encoding_rs::Encoding::for_label(charset.as_bytes()) {
        Some(charset) if std::str::from_utf8(&raw).is_err() || escapes => charset.decode_without_bom_handling(&raw).0.into_owned(),
        None if escapes => encoding_rs::ISO_2022_JP.decode_without_bom_handling(&raw).0.into_owned(),
        _ => lines::text(&raw),
    }
}

fn is_message(kind: &str) -> bool {
    matches!(
        kind,
        "message/rfc822"
            | "message/global"
            | "text/rfc822-headers"
            | "message/rfc822-headers"
            | "message/global-headers"
            | "message/partial"
            | "text/rfc822"
    )
}

/// The headers of the notice itself (`top`) say that it travelled, as every mail did.
fn role(kind: &str, headers: &Headers, text: &str, top: bool) -> Role {
    match kind {
        "message/delivery-status" | "message/global-delivery-status" => return Role::Status,
        "message/feedback-report" => return Role::Feedback,
        _ if is_message(kind) => return Role::Original,
        _ => {}
    }
    let travelled = headers.get("received").is_some() || headers.get("message-id").is_some() && headers.get("from").is_some();
    let attached = |text: &str| {
        next_line(text.trim_start())
            .and_then(|(line, _)| lines::field(line))
            .is_some_and(|(name, _)| name.eq_ignore_ascii_case("received"))
    };
    if !top && (travelled || attached(text)) {
        return Role::Original;
    }
    match kind {
        "text/html" | "application/xhtml+xml" => Role::Page,
        kind if kind.starts_with("text/") || kind.starts_with("multipart/") || kind.is_empty() => Role::Human,
        _ => Role::Other,
    }
}
