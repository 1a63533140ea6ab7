//! The bytes of a mail as they follow DATA: CRLF line ends, 7 bit but for a recipient in another script (RFC 6532), no line over 998 octets. Dots are the session's business.

use chrono::{DateTime, Datelike, Timelike, Utc};
use std::io::Write;
use uuid::Uuid;

use super::{
    header, mime,
    template::{CampaignContent, Rendered},
};
use crate::address::Address;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Longest List-Id in octets, RFC 2919 section 3.
const LONGEST_LIST_ID: usize = 255;

/// What mailbox providers and mail programs tell a campaign's mails by.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// The campaign.
    pub campaign_id: Uuid,
    /// Whose it is.
    pub workspace_id: Uuid,
    /// To whom it goes.
    pub list_ids: &'a [Uuid],
    /// `sending.feedback_sender_id`.
    pub sender_id: &'a str,
}

/// What is equal in all mails of a campaign; made once a chunk.
pub struct Skeleton {
    /// `From`, `MIME-Version`, `List-Id` and `Feedback-ID`.
    head: Vec<u8>,
    /// What follows the contact's id in the Message-ID.
    id_tail: String,
    /// `=_` cannot stand in an encoded body, and nobody can guess the rest for one that is not encoded.
    boundary: String,
}

/// What is different.
#[derive(Clone, Copy)]
pub struct Mail<'a> {
    /// The recipient's id.
    pub contact_id: Uuid,
    /// The recipient's address, which must be one that was parsed.
    pub email: &'a str,
    /// The recipient's name, or nothing.
    pub name: &'a str,
    /// Subject and bodies.
    pub rendered: &'a Rendered,
    /// Where one click unsubscribes.
    pub unsubscribe_url: &'a str,
    /// Where a mail does, if anywhere: an address that needs no quotes.
    pub unsubscribe_mailbox: Option<&'a str>,
    /// When it is sent.
    pub date: DateTime<Utc>,
}

/// The Message-ID of a (campaign, recipient) with its angle brackets: the same on every attempt, so that a doubled mail can be told.
#[must_use]
pub fn message_id(campaign_id: Uuid, contact_id: Uuid, from_domain: &str) -> String {
    format!("<{}.{}@{from_domain}>", contact_id.simple(), campaign_id.simple())
}

impl Skeleton {
    /// Prepares the mails of a campaign.
    ///
    /// # Errors
    /// The address in `from` is not one.
    pub fn new(labels: &Labels<'_>, content: &CampaignContent) -> Result<Self, String> {
        let from = Address::parse(&content.from_email).map_err(|reason| format!("from.email {reason}"))?;
        let mut head = Vec::with_capacity(128);
        header::mailbox(&mut head, "From", &content.from_name, from.as_str());
        head.extend_from_slice(b"MIME-Version: 1.0\r\n");
        head.extend_from_slice(labels.list_id(from.domain()).as_bytes());
        head.extend_from_slice(labels.feedback_id().as_bytes());
        let id_tail = format!(".{}@{}>", labels.campaign_id.simple(), from.domain());
        let boundary = format!("=_{}", Uuid::new_v4().simple());
        Ok(Self { head, id_tail, boundary })
    }

    /// Appends the whole mail to `out`.
    pub fn write(&self, out: &mut Vec<u8>, mail: &Mail<'_>) {
        out.reserve(mail.rendered.html.len() + mail.rendered.text.len() + 1024);
        out.extend_from_slice(b"Date: ");
        date(out, mail.date);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.head);
        header::mailbox(out, "To", mail.name, mail.email);
        header::unstructured(out, "Subject", &mail.rendered.subject);
        let mut id = [0; 32];
        mail.contact_id.simple().encode_lower(&mut id);
        push(out, &[b"Message-ID: <", &id, self.id_tail.as_bytes(), b"\r\nList-Unsubscribe: <"]);
        out.extend(mail.unsubscribe_url.bytes().filter(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>')));
        if let Some(mailbox) = mail.unsubscribe_mailbox {
            push(out, &[b">,\r\n <mailto:", mailbox.as_bytes(), b"?subject=unsubscribe"]);
        }
        let boundary = self.boundary.as_bytes();
        push(
            out,
            &[
                b">\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nContent-Type: multipart/alternative;\r\n boundary=\"",
                boundary,
                b"\"\r\n\r\n--",
                boundary,
                b"\r\nContent-Type: text/plain; charset=utf-8\r\n",
            ],
        );
        mime::body(out, &mail.rendered.text);
        push(out, &[b"\r\n--", boundary, b"\r\nContent-Type: text/html; charset=utf-8\r\n"]);
        mime::body(out, &mail.rendered.html);
        push(out, &[b"\r\n--", boundary, b"--\r\n"]);
    }
}

impl Labels<'_> {
    /// RFC 2919: of the list where it goes to one, so that a filter made for one campaign fits the next.
    fn list_id(&self, domain: &str) -> String {
        let id = match self.list_ids {
            [list_id] => format!("{}.list.{domain}", list_id.simple()),
            _ => format!("{}.campaign.{domain}", self.campaign_id.simple()),
        };
        if id.len() > LONGEST_LIST_ID { String::new() } else { format!("List-Id: <{id}>\r\n") }
    }

    /// Google's: complaints are told by campaign, customer, kind of mail and sender.
    fn feedback_id(&self) -> String {
        format!("Feedback-ID: {}:{}:campaign:{}\r\n", self.campaign_id.simple(), self.workspace_id.simple(), self.sender_id)
    }
}

fn push(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// A date as RFC 5322 section 3.3 writes it, in UTC.
pub fn date(out: &mut Vec<u8>, at: DateTime<Utc>) {
    let day = DAYS[at.weekday().num_days_from_monday() as usize];
    let month = MONTHS[at.month0() as usize];
    // Writing into a vector cannot fail.
    let _ = write!(out, "{day}, {} {month} {} {:02}:{:02}:{:02} +0000", at.day(), at.year(), at.hour(), at.minute(), at.second());
}

#[cfg(test)]
mod tests {
    use mail_parser::{MessageParser, MimeHeaders};
    use proptest::prelude::*;

    use super::*;

    const CAMPAIGN: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
    const CONTACT: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002);
    const WORKSPACE: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0003);
    const LIST: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0004);

    fn labels(list_ids: &[Uuid]) -> Labels<'_> {
        Labels { campaign_id: CAMPAIGN, workspace_id: WORKSPACE, list_ids, sender_id: "mochila" }
    }

    fn written(from_name: &str, name: &str, subject: &str, text: &str, html: &str) -> Vec<u8> {
        let content = CampaignContent {
            from_name: from_name.to_owned(),
            from_email: "news@shop.test".to_owned(),
            ..CampaignContent::default()
        };
        let rendered = Rendered { subject: subject.to_owned(), html: html.to_owned(), text: text.to_owned() };
        let mail = Mail {
            contact_id: CONTACT,
            email: "ada@example.com",
            name,
            rendered: &rendered,
            unsubscribe_url: "https://mail.test/u/abc",
            unsubscribe_mailbox: Some("uabc@bounces.shop.test"),
            date: "2026-01-05T12:00:00Z".parse().expect("a date"),
        };
        let mut skeleton = Skeleton::new(&labels(&[LIST]), &content).expect("a skeleton");
        skeleton.boundary = "=_boundary".to_owned();
        let mut out = Vec::new();
        skeleton.write(&mut out, &mail);
        out
    }

    #[test]
    fn a_mail_carries_what_mailbox_providers_ask_for() {
        let mail = written("Shop", "Ada Lovelace", "Frühling", "Hello Ada\n", "<p>Hello Ada</p>\n");
        insta::assert_snapshot!(String::from_utf8(mail).expect("7 bit").replace("\r\n", "\n"), @r#"
        Date: Mon, 5 Jan 2026 12:00:00 +0000
        From: Shop <news@shop.test>
        MIME-Version: 1.0
        List-Id: <01900000000070008000000000000004.list.shop.test>
        Feedback-ID: 01900000000070008000000000000001:01900000000070008000000000000003:campaign:mochila
        To: Ada Lovelace <ada@example.com>
        Subject: =?UTF-8?Q?Fr=C3=BChling?=
        Message-ID: <01900000000070008000000000000002.01900000000070008000000000000001@shop.test>
        List-Unsubscribe: <https://mail.test/u/abc>,
         <mailto:uabc@bounces.shop.test?subject=unsubscribe>
        List-Unsubscribe-Post: List-Unsubscribe=One-Click
        Content-Type: multipart/alternative;
         boundary="=_boundary"

        --=_boundary
        Content-Type: text/plain; charset=utf-8
        Content-Transfer-Encoding: 7bit

        Hello Ada

        --=_boundary
        Content-Type: text/html; charset=utf-8
        Content-Transfer-Encoding: 7bit

        <p>Hello Ada</p>

        --=_boundary--
        "#);
    }

    #[test]
    fn the_message_id_is_stable_and_the_one_that_is_listed() {
        let id = message_id(CAMPAIGN, CONTACT, "shop.test");
        let mail = written("Shop", "", "s", "t", "h");
        assert!(String::from_utf8(mail).expect("7 bit").contains(&format!("\r\nMessage-ID: {id}\r\n")));
    }

    #[test]
    fn a_list_is_named_where_there_is_one_and_the_campaign_where_there_are_several() {
        let field = |list_ids: &[Uuid], domain: &str| labels(list_ids).list_id(domain);
        assert_eq!(field(&[LIST], "shop.test"), "List-Id: <01900000000070008000000000000004.list.shop.test>\r\n");
        let two = field(&[LIST, CONTACT], "shop.test");
        assert_eq!(two, "List-Id: <01900000000070008000000000000001.campaign.shop.test>\r\n");
        assert_eq!(field(&[LIST], &vec!["a".repeat(63); 4].join(".")), "", "it would be longer than may be");
    }

    #[test]
    fn a_field_cannot_be_injected() {
        let evil = "x\r\nBcc: all@example.com\r\n\r\n.\r\nMAIL FROM:<a@b.test>\0\u{85}\u{2028}";
        let bytes = written(evil, evil, evil, "t", "h");
        let mail = MessageParser::new().parse(&bytes).expect("a mail");
        let names: Vec<&str> = mail.headers().iter().map(|header| header.name()).collect();
        assert_eq!(
            names,
            [
                "Date",
                "From",
                "MIME-Version",
                "List-ID",
                "Feedback-ID",
                "To",
                "Subject",
                "Message-ID",
                "List-Unsubscribe",
                "List-Unsubscribe-Post",
                "Content-Type"
            ]
        );
    }

    /// What a header keeps of a value: control characters are spaces.
    fn spaced(text: &str) -> String {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }

    fn normal(text: &str) -> String {
        text.replace('\0', "").replace("\r\n", "\n").replace('\r', "\n")
    }

    fn name() -> impl Strategy<Value = String> {
        // A parser may trim a name, and so do we.
        prop_oneof![any::<String>(), "[ -~]{0,90}", "\\PC{0,40}"]
            .prop_map(|s| s.trim_matches(|c: char| c.is_whitespace() || c.is_control()).to_owned())
    }

    fn body() -> impl Strategy<Value = String> {
        let piece = prop_oneof![any::<String>(), "[ -~\t]{0,200}", "(\r\n|\n|\r|\\.| |\t|=|a|é|\0){0,40}", "\\PC{0,100}"];
        proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_back(from in name(), to in name(), subject in name(), text in body(), html in body()) {
            let bytes = written(&from, &to, &subject, &text, &html);
            for line in bytes.split_inclusive(|b| *b == b'\n') {
                prop_assert!(line.ends_with(b"\r\n") && line.len() <= 1000);
                prop_assert!(!line[..line.len() - 2].contains(&b'\r'));
                prop_assert!(line.iter().all(|b| b.is_ascii() && *b != 0));
            }
            let header = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a body");
            for line in bytes[..header].split(|b| *b == b'\n').filter(|line| !line.starts_with(b"Message-ID") && !line.starts_with(b"Feedback-ID")) {
                prop_assert!(line.len() <= 79, "{}", String::from_utf8_lossy(line));
            }
            let mail = MessageParser::new().parse(&bytes).expect("a mail");
            prop_assert_eq!(mail.subject().unwrap_or_default(), spaced(&subject));
            let address = |list: Option<&mail_parser::Address<'_>>| {
                list.and_then(|list| list.first()).map(|one| (one.name().unwrap_or_default().to_owned(), one.address().map(str::to_owned)))
            };
            prop_assert_eq!(address(mail.from()), Some((spaced(&from), Some("news@shop.test".to_owned()))));
            prop_assert_eq!(address(mail.to()), Some((spaced(&to), Some("ada@example.com".to_owned()))));
            prop_assert_eq!(mail.parts.len(), 3);
            prop_assert_eq!(mail.parts[1].content_type().and_then(|t| t.subtype()), Some("plain"));
            prop_assert_eq!(normal(mail.parts[1].text_contents().unwrap_or_default()), normal(&text));
            prop_assert_eq!(normal(mail.parts[2].text_contents().unwrap_or_default()), normal(&html));
        }
    }
}
