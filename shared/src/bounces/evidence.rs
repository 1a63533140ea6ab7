//! Codes and words around an address, and the judgement over them.

use std::collections::HashSet;

use super::{Bounced, address};
use crate::deliveries::bounce_rules::{self, Class, Ground, Meaning};

/// What speaks about one recipient.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    pub recipient: String,
    /// As the report says it.
    pub action: Option<String>,
    /// The enhanced code of the report.
    pub status: Option<String>,
    /// What the remote server said; without a report the words that stand at the address.
    pub diagnostic: String,
    /// The words for people that stand at the address, where a report says more.
    pub context: String,
    /// All words for people.
    pub words: String,
}

impl Evidence {
    /// Weighs everything up, from the nearest to the farthest.
    pub fn judged(self) -> Bounced {
        let texts = [&self.diagnostic, &self.context, &self.words].map(String::as_str);
        let said = texts.into_iter().find(|text| !text.trim().is_empty()).unwrap_or_default();
        let inner = enhanced_code(said);
        // The server's own code is nearer to the truth than the reporter's, which is often x.0.0 or the reporter's own trouble.
        let status = match (&self.status, &inner) {
            (Some(outer), Some(inner)) if is_vague(outer) && !is_vague(inner) => Some(inner.clone()),
            (None, Some(inner)) => Some(inner.clone()),
            (outer, _) => outer.clone(),
        };
        let reply = texts.into_iter().find_map(reply_code);
        let code = inner.as_deref().filter(|inner| !is_vague(inner)).or(status.as_deref());
        let mut meaning = bounce_rules::judge(code, reply, said);
        for text in texts {
            if meaning.ground >= Ground::Code {
                break;
            }
            let farther = bounce_rules::judge(status.as_deref(), reply, text);
            if farther.ground == Ground::Text || farther.ground > meaning.ground {
                meaning = farther;
            }
        }
        let action = self.action.clone().unwrap_or_else(|| "failed".to_owned());
        let meaning = settled(&action, status.as_deref(), meaning);
        // "Unknown user" after the message was seen is the excuse of mobile carriers' filters, unless the code says the same.
        let excuse = meaning.class == Class::InvalidRecipient
            && !status.as_deref().is_some_and(names_address)
            && says_unknown_user(said)
            && texts.into_iter().any(refuses_the_message);
        let diagnostic = short(said);
        Bounced {
            recipient: self.recipient,
            hard: meaning.hard && action == "failed" && !excuse,
            action,
            status,
            reply_code: reply,
            class: meaning.class,
            remedy: meaning.remedy,
            diagnostic,
        }
    }
}

/// A delivery is nothing to complain about; a failure of which only "later" is known was given up.
fn settled(action: &str, status: Option<&str>, meaning: Meaning) -> Meaning {
    let delivered = matches!(action, "delivered" | "relayed" | "expanded" | "deliverable");
    if delivered {
        return Meaning { class: Class::Other, hard: false, ..meaning };
    }
    let later = status.is_some_and(|status| status.starts_with('4'));
    match action {
        "delayed" => {
            Meaning { class: if meaning.class == Class::Other { Class::Transient } else { meaning.class }, hard: false, ..meaning }
        }
        _ if later && meaning.ground < Ground::Code => Meaning { class: Class::Expired, hard: false, ..meaning },
        _ => meaning,
    }
}

/// One line, white space folded, of a length that a log bears.
fn short(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_whitespace() {
        if out.len() + word.len() > 500 {
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// An enhanced code about the recipient's address.
fn names_address(code: &str) -> bool {
    code.split_once('.').is_some_and(|(_, detail)| detail.starts_with("1.") && detail != "1.0")
}

fn says_unknown_user(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.contains("unknown user") || lower.contains("user unknown")
}

/// Whether the message itself was answered so, not the recipient's address: `(in reply to end of DATA command)`, m-FILTER's
/// `-------SMTP command`, or a transcript's `>>> DATA` without any answer to `RCPT`.
fn refuses_the_message(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let folded = lower.split_whitespace().collect::<Vec<_>>().join(" ");
    if folded.contains("end of data") || folded.contains("in reply to data") || folded.contains("-smtp command data") {
        return true;
    }
    lower.find(">>> data").is_some_and(|at| {
        let answer = lower[at..].lines().nth(1).unwrap_or_default().trim_start();
        answer.starts_with("<<< 5") && !answer.starts_with("<<< 503") && !lower[..at].contains(">>> rcpt")
    })
}

fn is_vague(code: &str) -> bool {
    matches!(code.split_once('.'), Some((_, "0.0" | "3.0" | "5.0" | "7.1" | "2.0" | "1.0" | "4.0" | "7.0")))
}

/// The first enhanced code of a text: not part of an address of the network or of a version.
pub(super) fn enhanced_code(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        if !matches!(byte, b'2' | b'4' | b'5')
            || at > 0
                && (bytes[at - 1].is_ascii_alphanumeric() || matches!(bytes[at - 1], b'.' | b'-' | b'/' | b'v'))
                && !after_code(bytes, at)
        {
            continue;
        }
        let rest = text.get(at..)?;
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let code = rest[..end].trim_end_matches('.');
        let mut parts = code.split('.');
        let sound = |part: Option<&str>, longest: usize| part.is_some_and(|part| !part.is_empty() && part.len() <= longest);
        if sound(parts.next(), 1)
            && sound(parts.next(), 3)
            && sound(parts.next(), 3)
            && parts.next().is_none()
            && !rest[end..].starts_with(['-', '/', '_'])
        {
            return Some(code.to_owned());
        }
    }
    None
}

/// `550-5.1.1`.
fn after_code(bytes: &[u8], at: usize) -> bool {
    at >= 4
        && bytes[at - 1] == b'-'
        && bytes[at - 4..at - 1].iter().all(u8::is_ascii_digit)
        && (at == 4 || !bytes[at - 5].is_ascii_digit())
}

/// The first reply code of a text that stands where a reply begins; a refusal before anything else.
pub(super) fn reply_code(text: &str) -> Option<u16> {
    let bytes = text.as_bytes();
    let mut found = None;
    for (at, three) in bytes.windows(3).enumerate() {
        if !matches!(three[0], b'2' | b'4' | b'5') || three[1] > b'7' || !three.iter().all(u8::is_ascii_digit) {
            continue;
        }
        let before = at == 0
            || matches!(
                bytes[at - 1],
                b' ' | b'\n' | b'\t' | b':' | b'<' | b'(' | b'[' | b'#' | b';' | b'"' | b'\'' | b'{' | b'=' | b','
            );
        let after = bytes.get(at + 3).is_none_or(|byte| {
            matches!(byte, b' ' | b'-' | b'\n' | b'\t' | b':' | b',' | b';' | b'(' | b'#' | b'\'' | b'"' | b']' | b')')
        });
        // "4 450 messages", "port 25", "line 541": a reply is followed by words or by an enhanced code.
        if !before || !after {
            continue;
        }
        let code = three.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
        if code >= 400 {
            return Some(code);
        }
        found = found.or(Some(code));
    }
    found.filter(|_| text.len() < 300)
}

/// How many lines behind an address are taken to speak about it, and how many bytes.
const SPEAKS_FOR: usize = 12;
const LONGEST: usize = 3000;

/// Words for people, with the addresses that each line names: looked at once, asked for each recipient.
pub(super) struct Lines<'a>(Vec<(&'a str, Vec<String>)>);

impl<'a> Lines<'a> {
    pub fn of(words: &'a str) -> Self {
        let named = |line| address::all(line).into_iter().map(|found| address::same(found.address)).collect();
        Self(words.lines().filter(|line| !line.trim().is_empty()).map(|line| (line, named(line))).collect())
    }

    /// The lines that speak about an address: each that names it, and what follows until another of `recipients` is named.
    pub fn about(&self, recipient: &str, recipients: &HashSet<String>) -> String {
        let recipient = address::same(recipient);
        let mut out = String::new();
        let mut speaking = 0;
        for (line, named) in &self.0 {
            if named.contains(&recipient) {
                speaking = SPEAKS_FOR;
            } else if named.iter().any(|one| recipients.contains(one)) {
                speaking = 0;
            }
            if named.is_empty() && turns_elsewhere(line) {
                speaking = 0;
            }
            if speaking > 0 {
                speaking -= 1;
                out.push_str(line);
                out.push('\n');
            }
            if out.len() > LONGEST {
                break;
            }
        }
        out
    }
}

/// In a transcript a line that begins to speak about another host: `While talking to mx.example.test:`, `550 example.test (smtp)... Host unknown`.
fn turns_elsewhere(line: &str) -> bool {
    let line = line.trim_start();
    let talks = line.trim_start_matches(['.', ' ']).get(..16).is_some_and(|head| head.eq_ignore_ascii_case("while talking to"));
    let mut words = line.split(' ');
    let coded = words.next().is_some_and(|code| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit()));
    talks || coded && words.next().is_some_and(|host| host.contains('.')) && words.next().is_some_and(|word| word.ends_with(")..."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: &str, diagnostic: &str, context: &str) -> (Class, bool) {
        let [status, diagnostic, context] = [status, diagnostic, context].map(str::to_owned);
        let evidence = Evidence { status: Some(status), diagnostic, context, ..Evidence::default() }.judged();
        (evidence.class, evidence.hard)
    }

    #[test]
    fn an_unknown_user_after_the_message_was_seen_is_a_filters_excuse() {
        let said = "550 Unknown user ada@example.com";
        let words =
            "<ada@example.com>: host mx.example.com said:\n 550 Unknown user ada@example.com (in reply to end of DATA\n command)";
        assert_eq!(judged("5.0.0", said, words), (Class::InvalidRecipient, false));
        assert_eq!(judged("5.1.1", said, words), (Class::InvalidRecipient, true));
        assert_eq!(judged("5.0.0", said, "<ada@example.com>:\n>>> DATA\n<<< 550 Unknown user"), (Class::InvalidRecipient, false));
        let both = ">>> RCPT To:<ada@example.com>\n<<< 550 Unknown user\n>>> DATA\n<<< 554 no valid recipients";
        assert_eq!(judged("5.0.0", said, both), (Class::InvalidRecipient, true));
    }

    #[test]
    fn what_a_transcript_says_of_the_next_host_is_not_said_of_the_address_before() {
        let words = "554 <ada@example.com>... Remote protocol error\n550 example.org (smtp)... 550 Host unknown\n554 <bob@example.org>... 550 Host unknown\nWhile talking to mx.example.net:\n>>> QUIT";
        let keys = ["ada@example.com", "bob@example.org"].map(str::to_owned).into_iter().collect();
        let lines = Lines::of(words);
        assert_eq!(lines.about("ada@example.com", &keys), "554 <ada@example.com>... Remote protocol error\n");
        assert_eq!(lines.about("bob@example.org", &keys), "554 <bob@example.org>... 550 Host unknown\n");
    }

    #[test]
    fn codes_are_told_from_other_numbers() {
        assert_eq!(enhanced_code("host 5.1.1.2 said: 550-5.7.26 no").as_deref(), Some("5.7.26"));
        assert_eq!(enhanced_code("(Exim 4.72) v5.5.2657.72 8.14.4 #5.1.1").as_deref(), Some("5.1.1"));
        assert_eq!(enhanced_code("5.1.1"), Some("5.1.1".to_owned()));
        assert_eq!(reply_code("said: 550 5.1.1 <ada@example.com>"), Some(550));
        assert_eq!(reply_code("on Mon, 1 Sep 2008 17:28:07 port 2525, 192.0.2.1"), None);
    }
}
