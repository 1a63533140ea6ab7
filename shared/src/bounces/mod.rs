//! Bounces and complaints, read from the mails that tell of them. Knows no database; nothing here is believed before its sender's token is
//! checked.
//!
//! [`parse`] tells what a mail is and whom it names. A delivery report by RFC 3464 ([`report`]) goes first, then a complaint ([`arf`]), a
//! notice of Amazon's ([`notification`]), then words for people ([`free_text`]). [`sections`] and [`lines`] take mails apart that MIME would
//! refuse, [`address`] finds addresses, [`original`] the message that came back, [`words`] what is said above it, [`evidence`] weighs codes
//! and words by the table [`crate::deliveries::bounce_rules`]. [`mbox`] splits files.

mod address;
mod arf;
mod evidence;
mod free_text;
mod lines;
pub mod mbox;
mod notification;
mod original;
mod report;
mod sections;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeSet, HashSet};

use evidence::Evidence;
use sections::{Mail, Role};
use serde::Serialize;

pub use crate::deliveries::bounce_rules::{Class, Remedy};

/// A mail of more than this is cut: what a notice says stands at its head, 8 MiB.
const LONGEST: usize = 8 << 20;

/// What a mail is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It tells what became of a message.
    Dsn,
    /// A recipient complains.
    Arf,
    /// Neither: somebody's answer while away, or any other mail.
    Other,
}

/// What a mail tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is.
    pub kind: Kind,
    /// Whom it tells of; empty where it names nobody.
    pub recipients: Vec<Bounced>,
    /// The message that it is about.
    pub original: Original,
    /// Where the notice went, our return path among them.
    pub addressed_to: Vec<String>,
    /// Of an answer by a machine that is no notice: who is away, or wants to be asked first.
    pub answered_for: Option<String>,
    /// Of a complaint: abuse, fraud, not-spam, opt-out, auth-failure, …
    pub feedback_type: Option<String>,
}

/// One recipient of a message, and what became of it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounced {
    /// The address.
    pub recipient: String,
    /// failed, delayed, delivered, relayed or expanded; complained.
    pub action: String,
    /// The enhanced status code.
    pub status: Option<String>,
    /// The basic reply code.
    pub reply_code: Option<u16>,
    /// What the server complains about.
    pub class: Class,
    /// The address itself is bad.
    pub hard: bool,
    /// What is done about it.
    pub remedy: Remedy,
    /// What the server said, on one line.
    pub diagnostic: String,
}

/// What a notice says of the message that it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Original {
    /// Without brackets.
    pub message_id: Option<String>,
    /// Its envelope sender.
    pub return_path: Option<String>,
    /// Of its To and Cc.
    pub recipients: Vec<String>,
    /// The headers that came back, names in lower case, at most 100.
    pub headers: Vec<(String, String)>,
}

/// Reads a mail. Any bytes will do.
#[must_use]
pub fn parse(raw: &[u8]) -> Notice {
    let mail = Mail::read(raw.get(..LONGEST).unwrap_or(raw));
    let notice = read(&mail);
    // A gateway wrapped the report into a notice of its own that names nobody.
    if notice.kind != Kind::Arf && (notice.recipients.is_empty() || !names_anybody(&mail)) {
        let inner = mail
            .texts(Role::Original)
            .find(|text| text.contains("message/delivery-status") || text.contains("message/feedback-report"));
        if let Some(inner) = inner
            .map(|text| read(&Mail::read(text.as_bytes())))
            .filter(|inner| inner.kind != Kind::Other && !inner.recipients.is_empty())
        {
            return Notice { addressed_to: notice.addressed_to, ..inner };
        }
    }
    notice
}

/// Whether the notice's own words name an address that a report or a person would mean.
fn names_anybody(mail: &Mail) -> bool {
    mail.texts(Role::Status).chain(mail.texts(Role::Human)).any(|text| text.contains('@'))
}

fn read(mail: &Mail) -> Notice {
    let headers = original::headers(mail);
    let original = original::of(mail, &headers);
    let addressed_to = ["delivered-to", "x-original-to", "envelope-to", "to"]
        .iter()
        .flat_map(|name| mail.headers.all(name))
        .flat_map(address::all);
    let mut seen = BTreeSet::new();
    let addressed_to: Vec<String> =
        addressed_to.map(|found| found.address.to_owned()).filter(|address| seen.insert(address::same(address))).take(20).collect();
    let notice = |kind, recipients, feedback_type| Notice {
        kind,
        recipients,
        original: original.clone(),
        addressed_to: addressed_to.clone(),
        answered_for: None,
        feedback_type,
    };
    if let Some(complaint) = arf::complaint(mail, &headers, &original) {
        let complained = complaint.recipients.into_iter().map(|recipient| complained(recipient, &complaint.source)).collect();
        return notice(Kind::Arf, complained, Some(complaint.feedback_type));
    }
    match notification::read(mail) {
        Some(notification::Said::Complaint(kind, recipients)) => {
            let complained = recipients.into_iter().map(|recipient| complained(recipient, "amazonses")).collect();
            return notice(Kind::Arf, complained, Some(kind));
        }
        Some(notification::Said::Outcome(outcome)) => return notice(Kind::Dsn, judged(outcome), None),
        None => {}
    }
    let words = words::of(mail);
    let reported = reported(mail, &words, &headers, &original);
    if !reported.is_empty() {
        return notice(Kind::Dsn, judged(reported), None);
    }
    if !words::tell_of_failure(mail, &words) && mail.texts(Role::Status).next().is_none() {
        return Notice { answered_for: words::answered_for(mail), ..notice(Kind::Other, Vec::new(), None) };
    }
    notice(Kind::Dsn, judged(free_text::recipients(mail, &words, &headers, &original)), None)
}

/// The recipients of a report, each with the words about it; those that the report leaves out are looked for in the words.
fn reported(mail: &Mail, words: &str, headers: &lines::Headers, original: &Original) -> Vec<Evidence> {
    let mut reported = report::recipients(mail);
    if reported.iter().any(|one| one.recipient.is_empty()) {
        let known: BTreeSet<String> = reported.iter().map(|one| address::same(&one.recipient)).collect();
        let mut others = free_text::recipients(mail, words, headers, original)
            .into_iter()
            .map(|one| one.recipient)
            .filter(|one| !known.contains(&address::same(one)));
        for one in reported.iter_mut().filter(|one| one.recipient.is_empty()) {
            one.recipient = others.next().unwrap_or_default();
        }
        reported.retain(|one| !one.recipient.is_empty());
    }
    let keys: HashSet<String> = reported.iter().map(|one| address::same(&one.recipient)).collect();
    let alone = reported.len() == 1;
    let lines = evidence::Lines::of(words);
    for one in &mut reported {
        one.context = lines.about(&one.recipient, &keys);
        if alone || one.context.trim().is_empty() {
            one.words = words.to_owned();
        }
    }
    reported
}

/// Judges each; of two that are one address the worse stays.
fn judged(all: Vec<Evidence>) -> Vec<Bounced> {
    let mut out: Vec<Bounced> = Vec::new();
    for one in all.into_iter().map(Evidence::judged) {
        match out.iter_mut().find(|known| address::same(&known.recipient) == address::same(&one.recipient)) {
            Some(known) if known.action != "failed" && one.action == "failed" => *known = one,
            Some(_) => {}
            None => out.push(one),
        }
    }
    out
}

fn complained(recipient: String, source: &str) -> Bounced {
    Bounced {
        recipient,
        action: "complained".to_owned(),
        status: None,
        reply_code: None,
        class: Class::Other,
        hard: false,
        remedy: Remedy::Suppress,
        diagnostic: source.to_owned(),
    }
}
