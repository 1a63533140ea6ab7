//! The bytes of a message: RFC 5322 and MIME, everything 7 bit but a recipient in another script (RFC 6532).
//!
//! ```text
//! multipart/mixed              where there are files
//! ├ multipart/related          where the HTML shows pictures by cid:
//! │ ├ multipart/alternative    where there are both
//! │ │ ├ text/plain
//! │ │ └ text/html
//! │ └ pictures
//! └ files
//! ```

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{attachment::Attachment, message::Message};
use crate::campaigns::{header, message::date, mime};

/// Octets of a piece of a parameter (RFC 2231 section 3): its line stays below 78.
const PIECE: usize = 54;

/// The whole mail as it follows DATA. `at` is when it was taken: every attempt has the same date.
#[must_use]
pub fn compose(message: &Message, attachments: &[Attachment], at: DateTime<Utc>) -> Vec<u8> {
    let files: usize = attachments.iter().map(|one| one.content.len() / 3 * 4 + one.content.len() / 57 * 2 + 512).sum();
    let bodies = message.text.len() + message.html.as_ref().map_or(0, String::len);
    let mut out = Vec::with_capacity(files + bodies + bodies / 2 + 2048);
    out.extend_from_slice(b"Date: ");
    date(&mut out, at);
    out.extend_from_slice(b"\r\n");
    header::mailbox(&mut out, "From", &message.from_name, &message.from_email);
    header::mailbox(&mut out, "To", &message.to_name, &message.recipient);
    if let Some(reply_to) = &message.reply_to_email {
        header::mailbox(&mut out, "Reply-To", message.reply_to_name.as_deref().unwrap_or_default(), reply_to);
    }
    header::unstructured(&mut out, "Subject", &message.subject);
    line(&mut out, &format!("Message-ID: {}", message.message_id()));
    for (name, value) in message.headers.iter() {
        if value.is_ascii() { header::structured(&mut out, name, value) } else { header::unstructured(&mut out, name, value) }
    }
    line(&mut out, "MIME-Version: 1.0");
    let shown = |one: &&Attachment| one.content_id.is_some() && message.html.is_some();
    let pictures: Vec<&Attachment> = attachments.iter().filter(shown).collect();
    let files: Vec<&Attachment> = attachments.iter().filter(|one| !shown(one)).collect();
    mixed(&mut out, message, &pictures, &files);
    out
}

fn mixed(out: &mut Vec<u8>, message: &Message, pictures: &[&Attachment], files: &[&Attachment]) {
    if files.is_empty() {
        return related(out, message, pictures);
    }
    let boundary = begin(out, "mixed", "");
    open(out, &boundary);
    related(out, message, pictures);
    for one in files {
        between(out, &boundary);
        file(out, one, "attachment");
    }
    close(out, &boundary);
}

fn related(out: &mut Vec<u8>, message: &Message, pictures: &[&Attachment]) {
    if pictures.is_empty() {
        return alternative(out, message);
    }
    let boundary = begin(out, "related", "; type=\"multipart/alternative\"");
    open(out, &boundary);
    alternative(out, message);
    for one in pictures {
        between(out, &boundary);
        file(out, one, "inline");
    }
    close(out, &boundary);
}

fn alternative(out: &mut Vec<u8>, message: &Message) {
    let Some(html) = &message.html else {
        line(out, "Content-Type: text/plain; charset=utf-8");
        mime::body(out, &message.text);
        out.extend_from_slice(b"\r\n");
        return;
    };
    let boundary = begin(out, "alternative", "");
    open(out, &boundary);
    line(out, "Content-Type: text/plain; charset=utf-8");
    mime::body(out, &message.text);
    between(out, &boundary);
    line(out, "Content-Type: text/html; charset=utf-8");
    mime::body(out, html);
    close(out, &boundary);
}

/// Nobody can guess it, and `=_` cannot stand in an encoded body.
fn begin(out: &mut Vec<u8>, kind: &str, more: &str) -> String {
    let boundary = format!("=_{}", Uuid::new_v4().simple());
    line(out, &format!("Content-Type: multipart/{kind}{more};"));
    line(out, &format!(" boundary=\"{boundary}\""));
    boundary
}

fn open(out: &mut Vec<u8>, boundary: &str) {
    line(out, "");
    line(out, &format!("--{boundary}"));
}

fn between(out: &mut Vec<u8>, boundary: &str) {
    line(out, "");
    line(out, &format!("--{boundary}"));
}

fn close(out: &mut Vec<u8>, boundary: &str) {
    line(out, "");
    line(out, &format!("--{boundary}--"));
}

fn line(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn file(out: &mut Vec<u8>, one: &Attachment, disposition: &str) {
    header::structured(out, "Content-Type", &one.content_type);
    out.extend_from_slice(format!("Content-Disposition: {disposition}").as_bytes());
    filename(out, &one.filename);
    if let Some(id) = &one.content_id {
        line(out, &format!("Content-ID: <{id}>"));
    }
    line(out, "Content-Transfer-Encoding: base64");
    line(out, "");
    mime::base64(out, &one.content);
}

/// As a quoted string where it is short ASCII, else in pieces of RFC 2231. Ends the field.
fn filename(out: &mut Vec<u8>, name: &str) {
    if name.len() <= PIECE && name.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        line(out, ";");
        line(out, &format!(" filename=\"{quoted}\""));
        return;
    }
    let mut pieces = vec![String::new()];
    // No character is cut in two: there are readers that decode each piece for itself.
    for character in name.chars() {
        let spelled = if character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_') {
            character.to_string()
        } else {
            character.encode_utf8(&mut [0; 4]).bytes().map(|octet| format!("%{octet:02X}")).collect()
        };
        match pieces.last_mut() {
            Some(last) if last.len() + spelled.len() <= PIECE => last.push_str(&spelled),
            _ => pieces.push(spelled),
        }
    }
    if let [one] = pieces.as_slice() {
        line(out, ";");
        line(out, &format!(" filename*=UTF-8''{one}"));
        return;
    }
    for (index, piece) in pieces.iter().enumerate() {
        let charset = if index == 0 { "UTF-8''" } else { "" };
        out.extend_from_slice(format!(";\r\n filename*{index}*={charset}{piece}").as_bytes());
    }
    line(out, "");
}

#[cfg(test)]
mod tests {
    use mail_parser::{MessageParser, MimeHeaders};
    use proptest::prelude::*;
    use sqlx::types::Json;

    use super::*;
    use crate::messages::message::State;

    fn message(subject: &str, html: Option<&str>, headers: &[(&str, &str)]) -> Message {
        let at: DateTime<Utc> = "2026-01-05T12:00:00Z".parse().expect("a date");
        Message {
            id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001),
            workspace_id: Uuid::nil(),
            template_id: None,
            job_id: None,
            state: State::Queued,
            from_name: "The Shop".to_owned(),
            from_email: "orders@shop.test".to_owned(),
            to_name: "Ann".to_owned(),
            recipient: "ann@example.com".to_owned(),
            domain: "example.com".to_owned(),
            reply_to_name: None,
            reply_to_email: Some("help@shop.test".to_owned()),
            subject: subject.to_owned(),
            html: html.map(str::to_owned),
            text: "Hello\n".to_owned(),
            headers: Json(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()),
            tags: Vec::new(),
            metadata: Json(serde_json::Map::new()),
            attachments: 0,
            attempts: 0,
            route_id: None,
            smtp_code: None,
            enhanced_code: None,
            response: None,
            reason: None,
            expires_at: at,
            first_attempt_at: None,
            last_attempt_at: None,
            next_attempt_at: None,
            created_at: at,
            updated_at: at,
        }
    }

    fn file(filename: &str, content: &[u8], content_id: Option<&str>) -> Attachment {
        Attachment {
            filename: filename.to_owned(),
            content_type: "application/octet-stream".to_owned(),
            content_id: content_id.map(str::to_owned),
            content: content.to_vec(),
        }
    }

    fn composed(message: &Message, attachments: &[Attachment]) -> Vec<u8> {
        compose(message, attachments, message.created_at)
    }

    /// The types of its parts, from the outside in.
    fn kinds(bytes: &[u8]) -> Vec<String> {
        let mail = MessageParser::new().parse(bytes).expect("a mail");
        let kind = |part: &mail_parser::MessagePart<'_>| {
            let kind = part.content_type().expect("a type");
            format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default())
        };
        mail.parts.iter().map(kind).collect()
    }

    #[test]
    fn parts_are_nested_as_far_as_there_are_any() {
        let (text, both) = (message("s", None, &[]), message("s", Some("<p>Hello</p>"), &[]));
        let (plain, shown) = (file("a.bin", b"a", None), file("b.png", b"b", Some("b@shop.test")));
        assert_eq!(kinds(&composed(&text, &[])), ["text/plain"]);
        assert_eq!(kinds(&composed(&both, &[])), ["multipart/alternative", "text/plain", "text/html"]);
        let octets = "application/octet-stream";
        assert_eq!(kinds(&composed(&text, std::slice::from_ref(&shown))), ["multipart/mixed", "text/plain", octets]);
        assert_eq!(
            kinds(&composed(&both, std::slice::from_ref(&shown))),
            ["multipart/related", "multipart/alternative", "text/plain", "text/html", octets]
        );
        assert_eq!(
            kinds(&composed(&both, &[plain, shown])),
            ["multipart/mixed", "multipart/related", "multipart/alternative", "text/plain", "text/html", octets, octets]
        );
    }

    #[test]
    fn every_attempt_has_the_same_head() {
        let head = |bytes: Vec<u8>| String::from_utf8(bytes).expect("7 bit").split("Content-Type").next().map(str::to_owned);
        let message = message("Order 66", Some("<p>Hello</p>"), &[("X-Order", "66")]);
        let (first, second) = (head(composed(&message, &[])), head(composed(&message, &[])));
        assert_eq!(first, second);
        insta::assert_snapshot!(first.expect("a head").replace("\r\n", "\n"), @r"
        Date: Mon, 5 Jan 2026 12:00:00 +0000
        From: The Shop <orders@shop.test>
        To: Ann <ann@example.com>
        Reply-To: help@shop.test
        Subject: Order 66
        Message-ID: <01900000000070008000000000000001@shop.test>
        X-Order: 66
        MIME-Version: 1.0
        ");
    }

    proptest! {
        #[test]
        fn whatever_is_given_ends_no_field_and_is_read_back(
            subject in "\\PC{0,120}|(\r|\n|\0|a|é|:){0,40}",
            name in "\\PC{0,80}|(\r|\n|\0|a|\"|\\\\){0,40}",
            value in "[ -~]{1,300}|\\PC{1,80}|(\r|\n|a|:){1,40}",
            filename in "[^\\x00-\\x1f\\x7f-\\u{9f}/\\\\]{1,255}",
            content in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut message = message(&subject, Some("<p>Hello</p>"), &[("X-Order", value.as_str()), ("In-Reply-To", value.as_str())]);
            message.from_name.clone_from(&name);
            message.to_name.clone_from(&name);
            let bytes = composed(&message, &[file(&filename, &content, None)]);
            for line in bytes.split_inclusive(|b| *b == b'\n') {
                prop_assert!(line.ends_with(b"\r\n") && line.len() <= 1000);
                prop_assert!(!line[..line.len() - 2].contains(&b'\r') && line.iter().all(|b| b.is_ascii() && *b != 0));
            }
            let mail = MessageParser::new().parse(&bytes).expect("a mail");
            let names: Vec<&str> = mail.headers().iter().map(|header| header.name()).collect();
            let wanted = ["Date", "From", "To", "Reply-To", "Subject", "Message-ID", "X-Order", "In-Reply-To", "MIME-Version", "Content-Type"];
            prop_assert_eq!(names, wanted);
            let attached = mail.attachments().next().expect("a file");
            prop_assert_eq!(attached.contents(), content.as_slice());
            prop_assert_eq!(attached.attachment_name(), Some(filename.as_str()));
        }
    }
}
