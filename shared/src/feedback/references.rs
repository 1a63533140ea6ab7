//! What names a mail of ours in a text of strangers: a return path, or a Message-ID. A rule without SQL.
//!
//! A return path is signed. A Message-ID is not: it is believed where such a mail was sent, and known to nobody but its recipient and whoever
//! carried it.

use mail_parser::{Message, MessageParser, MimeHeaders, PartType};
use uuid::Uuid;

use super::fact::About;
use crate::vault::Links;

/// A name of one of our mails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// Of a return path of ours.
    Signed(About),
    /// Of a Message-ID, as `campaigns::message::message_id` or `messages::message::message_id` writes it.
    MessageId {
        /// The mail.
        about: About,
        /// Of its sender, in lower case.
        domain: String,
    },
}

/// References that are looked up at most: a report is about one mail.
const MOST: usize = 10;
/// Messages within messages that are looked into.
const DEEPEST: usize = 5;
/// Octets of the longest local part.
const LONGEST_LOCAL: usize = 80;

/// All that are in a mail, also where it is encoded for its way; each once, in the order in which they stand there.
#[must_use]
pub fn in_mail(links: &Links, raw: &[u8]) -> Vec<Reference> {
    let mut found = Vec::new();
    scan(links, raw, &mut found);
    if let Some(message) = MessageParser::default().parse(raw) {
        decoded(links, &message, 0, &mut found);
    }
    found.truncate(MOST);
    found
}

/// All that are in a text.
#[must_use]
pub fn in_text(links: &Links, text: &str) -> Vec<Reference> {
    let mut found = Vec::new();
    scan(links, text.as_bytes(), &mut found);
    found.truncate(MOST);
    found
}

fn decoded(links: &Links, message: &Message<'_>, depth: usize, found: &mut Vec<Reference>) {
    for part in &message.parts {
        match &part.body {
            PartType::Text(text) | PartType::Html(text) if part.content_transfer_encoding().is_some() => {
                scan(links, text.as_bytes(), found);
            }
            PartType::Binary(bytes) | PartType::InlineBinary(bytes) => scan(links, bytes, found),
            PartType::Message(inner) if depth < DEEPEST => {
                scan(links, &inner.raw_message, found);
                decoded(links, inner, depth + 1, found);
            }
            _ => {}
        }
    }
}

fn scan(links: &Links, bytes: &[u8], found: &mut Vec<Reference>) {
    for at in memchr::memchr_iter(b'@', bytes) {
        let Some(reference) = one(links, bytes, at) else { continue };
        if !found.contains(&reference) {
            found.push(reference);
        }
    }
}

/// What the address around this at sign names.
fn one(links: &Links, bytes: &[u8], at: usize) -> Option<Reference> {
    let before = &bytes[at.saturating_sub(LONGEST_LOCAL)..at];
    let start = before.iter().rposition(|b| !b.is_ascii_alphanumeric() && *b != b'.').map_or(0, |place| place + 1);
    let local = std::str::from_utf8(&before[start..]).ok()?;
    if let Some(origin) = links.read_return_path(local) {
        return Some(Reference::Signed(origin.into()));
    }
    let about = match local.split_once('.') {
        Some((contact, campaign)) => About::Delivery { campaign_id: simple(campaign)?, contact_id: simple(contact)? },
        None => About::Message { message_id: simple(local)? },
    };
    let domain: String = bytes[at + 1..]
        .iter()
        .take(253)
        .take_while(|b| b.is_ascii_alphanumeric() || b".-".contains(b))
        .map(|b| char::from(b.to_ascii_lowercase()))
        .collect();
    Some(Reference::MessageId { about, domain: domain.trim_end_matches('.').to_owned() })
}

/// An id without hyphens.
fn simple(text: &str) -> Option<Uuid> {
    if text.len() == 32 { Uuid::try_parse(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use proptest::prelude::*;

    use super::*;
    use crate::{campaigns::message::message_id, messages::message as transactional, settings::Settings, vault::Origin};

    fn links() -> Links {
        Links::from_settings(&Settings::sample()).expect("the sample key")
    }

    #[test]
    fn our_names_are_found_in_the_clear_and_encoded_and_within_messages() {
        let (campaign_id, contact_id) = (Uuid::now_v7(), Uuid::now_v7());
        let id = message_id(campaign_id, contact_id, "shop.test");
        let path = links().return_path("b.shop.test", Origin::Delivery { campaign_id, contact_id });
        let about = About::Delivery { campaign_id, contact_id };
        let named = Reference::MessageId { about, domain: "shop.test".to_owned() };
        let signed = Reference::Signed(about);
        let original = format!("Return-Path: <{path}>\r\nFrom: a@shop.test\r\nMessage-ID: {id}\r\n\r\nHello\r\n");
        let encoded = STANDARD.encode(&original);
        for (what, part) in [
            ("plain", format!("Content-Type: message/rfc822\r\n\r\n{original}")),
            ("headers", format!("Content-Type: text/rfc822-headers\r\n\r\n{original}")),
            ("base64", format!("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n{encoded}\r\n")),
            (
                "base64 headers",
                format!("Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: base64\r\n\r\n{encoded}\r\n"),
            ),
        ] {
            let report = format!(
                "From: fbl@provider.test\r\nContent-Type: multipart/report; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nabuse\r\n--x\r\n{part}\r\n--x--\r\n"
            );
            assert_eq!(in_mail(&links(), report.as_bytes()), [signed.clone(), named.clone()], "{what}");
        }
        assert_eq!(in_text(&links(), &format!("{{\"smtp-id\":\"{id}\"}}")), [named]);
        let about = About::Message { message_id: contact_id };
        let path = links().return_path("b.shop.test", Origin::Message { message_id: contact_id });
        let text = format!("{path} {}", transactional::message_id(contact_id, "Shop.test"));
        let named = Reference::MessageId { about, domain: "shop.test".to_owned() };
        assert_eq!(in_text(&links(), &text), [Reference::Signed(about), named]);
        let forged = path.replacen(&path[40..42], if &path[40..42] == "aa" { "bb" } else { "aa" }, 1);
        assert_eq!(in_text(&links(), &format!("<0123.4567@shop.test> @ x@ {forged}")), []);
    }

    proptest! {
        #[test]
        fn any_octets_are_looked_through(raw in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = in_mail(&links(), &raw);
        }
    }
}
