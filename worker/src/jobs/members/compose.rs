//! Writes the mails about accounts: short, as text and as HTML, each from two files of `letters/`.

use chrono::{DateTime, Utc};
use shared::{
    campaigns::{header, message, mime},
    members::{letter::Letter, payload::AccountMail},
    settings::Settings,
    vault::Links,
};
use uuid::Uuid;

const FRAME: &str = include_str!("letters/frame.html");

/// The whole mail as it follows DATA. Its Message-ID is the same whenever the same mail is written again.
#[must_use]
pub fn compose(mail: AccountMail, id: Uuid, letter: &Letter, settings: &Settings, links: &Links, date: DateTime<Utc>) -> Vec<u8> {
    let (path, text, html) = match mail {
        AccountMail::Invitation => {
            ("accept-invitation", include_str!("letters/invitation.txt"), include_str!("letters/invitation.html"))
        }
        AccountMail::Verification => {
            ("verify-email", include_str!("letters/verification.txt"), include_str!("letters/verification.html"))
        }
        AccountMail::Reset => ("reset-password", include_str!("letters/reset.txt"), include_str!("letters/reset.html")),
        AccountMail::Welcome => ("", include_str!("letters/welcome.txt"), include_str!("letters/welcome.html")),
    };
    let subject = match mail {
        AccountMail::Invitation => format!("{} invites you to {}", letter.invited_by, letter.workspace),
        AccountMail::Verification => "Please confirm your e-mail".to_owned(),
        AccountMail::Reset => "Set a new password".to_owned(),
        AccountMail::Welcome => format!("Welcome to {}", letter.workspace),
    };
    let base = settings.api.public_url.as_str().trim_end_matches('/');
    let link = match letter.token_id {
        Some(token_id) => format!("{base}/{path}?token={}", links.mail_token(mail.name(), token_id)),
        None => base.to_owned(),
    };
    let greeting = if letter.name.is_empty() { "Hello,".to_owned() } else { format!("Hello {},", letter.name) };
    let values = [
        ("subject", subject.as_str()),
        ("greeting", &greeting),
        ("to", &letter.to),
        ("workspace", &letter.workspace),
        ("invited_by", &letter.invited_by),
        ("link", &link),
        ("sender", &settings.mail.from_name),
    ];
    let text = filled(text, &values, str::to_owned);
    let (before, after) = FRAME.split_once("{{ inside }}").unwrap_or_default();
    let html = filled(&[before, html, after].concat(), &values, escaped);
    written(mail, id, &letter.to, &subject, &text, &html, settings, date)
}

#[expect(clippy::too_many_arguments, reason = "the fields of one mail, written once")]
fn written(
    mail: AccountMail,
    id: Uuid,
    to: &str,
    subject: &str,
    text: &str,
    html: &str,
    settings: &Settings,
    date: DateTime<Utc>,
) -> Vec<u8> {
    let from = settings.mail.from.as_str();
    let domain = from.rsplit_once('@').map_or(from, |(_, domain)| domain);
    // Nobody can guess the rest, and `=_` cannot stand in an encoded body.
    let boundary = format!("=_{}", Uuid::new_v4().simple());
    let mut out = Vec::with_capacity(text.len() + html.len() + 1024);
    out.extend_from_slice(b"Date: ");
    message::date(&mut out, date);
    out.extend_from_slice(b"\r\n");
    header::mailbox(&mut out, "From", &settings.mail.from_name, from);
    header::mailbox(&mut out, "To", "", to);
    header::unstructured(&mut out, "Subject", subject);
    // RFC 3834: nobody's vacation answers it.
    let head = format!(
        "Message-ID: <{}.{mail}@{domain}>\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/alternative;\r\n boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n",
        id.simple()
    );
    out.extend_from_slice(head.as_bytes());
    mime::body(&mut out, text);
    out.extend_from_slice(format!("\r\n--{boundary}\r\nContent-Type: text/html; charset=utf-8\r\n").as_bytes());
    mime::body(&mut out, html);
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

/// Puts values where their names stand in double braces. What a value holds is not looked at again.
fn filled(template: &str, values: &[(&str, &str)], write: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(template.len() + 256);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{ ") {
        let (name, after) = after.split_once(" }}").unwrap_or((after, ""));
        out.push_str(before);
        let value = values.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value);
        out.push_str(&write(value));
        rest = after;
    }
    out.push_str(rest);
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use mail_parser::MessageParser;
    use proptest::prelude::*;

    use super::*;

    const ID: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);

    fn letter() -> Letter {
        Letter {
            to: "grace@example.com".to_owned(),
            name: "Grace <b>".to_owned(),
            workspace: "Acme & \"Sons\"".to_owned(),
            invited_by: "ada@example.com".to_owned(),
            token_id: Some(ID),
        }
    }

    fn composed(mail: AccountMail, letter: &Letter) -> Vec<u8> {
        let mut settings = Settings::sample();
        settings.mail.from = "post@example.com".to_owned();
        let links = Links::from_settings(&settings).expect("the sample key");
        compose(mail, ID, letter, &settings, &links, "2026-01-05T12:00:00Z".parse().expect("a date"))
    }

    #[test]
    fn each_mail_says_what_it_is_for_and_where_to_go() {
        let mut shown = String::new();
        for mail in [AccountMail::Invitation, AccountMail::Verification, AccountMail::Reset, AccountMail::Welcome] {
            let letter = Letter { token_id: letter().token_id.filter(|_| mail != AccountMail::Welcome), ..letter() };
            let bytes = composed(mail, &letter);
            let parsed = MessageParser::new().parse(&bytes).expect("a mail");
            let text = parsed.body_text(0).expect("a text");
            shown.push_str(&format!(
                "{} <{}>\n\n{text}\n",
                parsed.subject().expect("a subject"),
                parsed.message_id().expect("an id")
            ));
            let html = parsed.body_html(0).expect("HTML");
            assert!(!html.contains("{{") && !text.contains("{{"), "{html}");
            assert!(!html.contains("<b>") && !html.contains("Acme & "), "{html}");
        }
        insta::assert_snapshot!(shown);
    }

    proptest! {
        #[test]
        fn whatever_people_are_called_lines_are_short_and_of_seven_bits(name in any::<String>(), workspace in "(\\PC|[\r\n\0.=]){0,200}") {
            let bytes = composed(AccountMail::Invitation, &Letter { name, workspace, ..letter() });
            for line in bytes.split_inclusive(|octet| *octet == b'\n') {
                prop_assert!(line.ends_with(b"\r\n") && line.len() <= 1000);
                prop_assert!(line[..line.len() - 2].iter().all(|octet| octet.is_ascii() && !matches!(octet, b'\r' | 0)));
            }
            let parsed = MessageParser::new().parse(&bytes).expect("a mail");
            let names: Vec<&str> = parsed.headers().iter().map(|header| header.name()).collect();
            let expected = ["Date", "From", "To", "Subject", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"];
            prop_assert_eq!(names, expected);
        }
    }

    #[test]
    fn a_name_cannot_fill_in_another_value_or_a_header() {
        let evil = Letter { name: "{{ link }}".to_owned(), workspace: "x\r\nBcc: all@example.com".to_owned(), ..letter() };
        let bytes = composed(AccountMail::Welcome, &evil);
        let parsed = MessageParser::new().parse(&bytes).expect("a mail");
        assert!(parsed.body_text(0).expect("a text").contains("Hello {{ link }},"));
        assert!(parsed.bcc().is_none());
    }
}
