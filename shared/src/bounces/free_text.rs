//! Recipients in words for people: the formats of qmail, Exim, Sendmail, Courier, Domino, Notes, Exchange before 2007, and of everybody who
//! never heard of RFC 3464. Their lines have few shapes, so one reader does for all.

use std::{
    collections::{BTreeSet, HashSet},
    sync::LazyLock,
};

use regex::Regex;

use super::{
    Original, address,
    evidence::{self, Evidence},
    lines::Headers,
    original,
    sections::Mail,
    words,
};

/// No report names more.
const MOST: usize = 500;

/// What stands before a recipient on its line.
static LABEL: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?i)(^|[^a-z-])(recipients?( address)?( was| were)?|rcpt to|addressed to|(be |been |was )?(delivered|sent|relayed)( your (mail|message|e-?mail))? to|deliver(y|ing)?( of)?( your| the)?( (mail|message|e-?mail))?( \S{1,30})? (to|for)|to|failed to send to|unknown user|user unknown|invalid user|no such user|unknown recipient|invalid recipient|",
        r"(e-?mail |mail ?box |user |destination )?address(es)?|e-?mail|mail|(send|sending|reach)( (mail|message|e-?mail|it|your message))?( to)?|user|mailbox|account|permanent errors|undeliverable( to)?|message to|errors?( for| at)?|following( (user|address|recipient)(\(?s\)?)?)?|failed|name|宛先|送信先|対象|mail for|fail(ed|ure)( (for|at|to|on))?)(\(s\)|\(es\))?( is| are| was| were)?\s*[:=>.、：-]*\s*[<\x22'(\[]*$",
    ))
    .ok()
});

/// What says that the recipients follow.
static TRIGGER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)(following|these|this) (final |destination |intended |invalid |local )?(recipient|address|user|e-?mail address|destination|person|people|mailbox|group)[^\n]{0,120}|(not|n't) (be )?delivered to:?\s*$|message not delivered|list of recipients|次のあて先").ok()
});

/// An address that is the way to another one, or the sender's.
static ASIDE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)(generated (by|from)|expanded from:?|mail from:?|from:?|reply-to:?|sender:?|contact:?|sent by|envelope-from|return-path:?|on behalf of|original sender:?|errors? to|forwarded (by|from)|please (e-?mail|contact|write to|forward).{0,60}|mailto:|administrator.{0,20}|postmaster.{0,20}|help ?desk.{0,20}|message-id:?.{0,80}|x-\S+:.{0,40}|cc:|dear|hello|hi|abuse .{0,20}|help,? .{0,30}|assistance.{0,40}|questions?.{0,40})\s*[<(\[\x22']*$").ok()
});

/// An address in the words, and how surely it is a recipient.
struct Candidate {
    address: String,
    strong: bool,
}

/// The recipients that a notice without a report names.
pub(super) fn recipients(mail: &Mail, words: &str, headers: &Headers, original: &Original) -> Vec<Evidence> {
    let listed = failed_recipients(mail);
    let listed = if listed.is_empty() { list_of_fml(mail).into_iter().collect() } else { listed };
    let addresses = if listed.is_empty() { named(mail, words, headers, original) } else { listed };
    let delayed = words::tell_of_delay(mail, words);
    let keys: HashSet<String> = addresses.iter().map(|address| address::same(address)).collect();
    let lines = evidence::Lines::of(words);
    let alone = addresses.len() == 1;
    let subject = mail.headers.get("subject").unwrap_or_default();
    let spoken = addresses.into_iter().map(|recipient| {
        let mut near = lines.about(&recipient, &keys);
        let bare = near.trim().len() <= recipient.len() + 4;
        let everything = if alone || bare { format!("{words}\n{subject}") } else { String::new() };
        if bare {
            near.clear();
        }
        let status = evidence::enhanced_code(&near).or_else(|| evidence::enhanced_code(&everything));
        Evidence {
            action: Some(if delayed { "delayed" } else { "failed" }.to_owned()),
            status,
            recipient,
            diagnostic: near,
            words: everything,
            ..Evidence::default()
        }
    });
    spoken.collect()
}

/// The list that Exim and Gmail put into the headers.
pub(super) fn failed_recipients(mail: &Mail) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for value in mail.headers.all("x-failed-recipients") {
        for address in address::all(value) {
            if !found.iter().any(|known| address::same(known) == address::same(address.address)) && found.len() < MOST {
                found.push(address.address.to_owned());
            }
        }
    }
    found
}

/// The list that fml, which names nobody, tells by its message ids: `<202703010000.FMLAAA1.readers@example.com>`.
fn list_of_fml(mail: &Mail) -> Option<String> {
    mail.headers.get("x-mlserver").filter(|server| server.contains("fml"))?;
    let id = mail.headers.get("message-id").and_then(address::first)?;
    let (local, domain) = id.rsplit_once('@')?;
    let (counter, list) = local.rsplit_once('.')?;
    (counter.contains("FML") && !list.is_empty()).then(|| format!("{list}@{domain}"))
}

/// Everybody who is the sender: no recipient of the message.
fn senders(mail: &Mail, original: &Original, headers: &Headers) -> BTreeSet<String> {
    let of_notice = [
        "to",
        "delivered-to",
        "x-original-to",
        "from",
        "reply-to",
        "sender",
        "envelope-to",
        "x-apparently-to",
        "x-envelope-to",
        "return-path",
    ];
    let notice =
        of_notice.iter().flat_map(|name| mail.headers.all(name)).flat_map(address::all).map(|found| address::same(found.address));
    let of_message = [
        "from",
        "return-path",
        "sender",
        "reply-to",
        "errors-to",
        "x-env-sender",
        "x-envelope-from",
        "list-post",
        "list-unsubscribe",
        "list-help",
        "list-subscribe",
        "list-owner",
    ];
    let message =
        of_message.iter().flat_map(|name| headers.all(name)).flat_map(address::all).map(|found| address::same(found.address));
    let path = original.return_path.iter().map(|path| address::same(path));
    notice.chain(message).chain(path).collect()
}

fn named(mail: &Mail, words: &str, headers: &Headers, original: &Original) -> Vec<String> {
    let senders = senders(mail, original, headers);
    let candidates = announced(words);
    let choose = |strong: bool, but_senders: bool, but_roles: bool| {
        let mut seen = BTreeSet::new();
        let chosen = candidates.iter().filter(|candidate| candidate.strong || !strong);
        let chosen = chosen.filter(|candidate| !but_senders || !senders.contains(&address::same(&candidate.address)));
        let chosen = chosen.filter(|candidate| !but_roles || !address::is_role(&candidate.address));
        let chosen: Vec<String> = chosen
            .map(|candidate| candidate.address.clone())
            .filter(|address| seen.insert(address::same(address)))
            .take(MOST)
            .collect();
        (!chosen.is_empty()).then_some(chosen)
    };
    let addressed = || {
        let to: Vec<String> = original.recipients.iter().filter(|address| address::has_dot(address)).cloned().collect();
        (to.len() == 1).then_some(to)
    };
    let strong = choose(true, true, true).or_else(|| choose(true, true, false));
    strong
        .or_else(|| choose(false, true, true).map(|weak| confirmed(weak, original, headers)))
        .or_else(|| generated_from(words))
        .or_else(|| without_domain(mail, words))
        .or_else(addressed)
        .or_else(|| passed_on(headers, &senders))
        .or_else(|| choose(true, false, true))
        .or_else(|| original.recipients.first().map(|first| vec![first.clone()]))
        .or_else(|| choose(false, true, false))
        .unwrap_or_default()
}

/// Of addresses that merely occur those that the message was for, if any.
fn confirmed(weak: Vec<String>, original: &Original, headers: &Headers) -> Vec<String> {
    let meant: BTreeSet<String> =
        original.recipients.iter().cloned().chain(original::received_for(headers)).map(|address| address::same(&address)).collect();
    let both: Vec<String> = weak.iter().filter(|address| meant.contains(&address::same(address))).cloned().collect();
    if both.is_empty() { weak } else { both }
}

/// Of Exim, which keeps an alias's target to itself: `an undisclosed address (generated from ada@example.com)`.
fn generated_from(words: &str) -> Option<Vec<String>> {
    let found: Vec<String> = words
        .lines()
        .filter_map(|line| line.split_once("generated from ").and_then(|(_, rest)| address::first(rest)))
        .map(str::to_owned)
        .take(MOST)
        .collect();
    (!found.is_empty()).then_some(found)
}

/// Of AOL, which leaves its own domain out: names that stand alone on the lines behind the words that announce recipients.
fn without_domain(mail: &Mail, words: &str) -> Option<Vec<String>> {
    let sender = mail.headers.get("from").and_then(address::first)?;
    let (local, domain) = sender.rsplit_once('@')?;
    let trigger = TRIGGER.as_ref()?.find(words).filter(|_| local.eq_ignore_ascii_case("mailer-daemon"))?;
    let behind = words[trigger.end()..].split_once('\n')?.1;
    let names: Vec<String> = behind
        .lines()
        .take_while(|line| line.starts_with([' ', '\t']))
        .map(str::trim)
        .take_while(|line| {
            (2..=64).contains(&line.len())
                && line.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        })
        .map(|name| format!("{name}@{}", domain.to_ascii_lowercase()))
        .take(MOST)
        .collect();
    (!names.is_empty()).then_some(names)
}

/// Whom the servers on the message's way noted: one, and not the sender.
fn passed_on(headers: &Headers, senders: &BTreeSet<String>) -> Option<Vec<String>> {
    let mut noted: Vec<String> =
        original::received_for(headers).into_iter().filter(|address| !senders.contains(&address::same(address))).collect();
    noted.dedup_by_key(|address| address::same(address));
    (noted.len() == 1).then_some(noted)
}

/// Behind the words that announce recipients, if any stand there; otherwise anywhere.
fn announced(words: &str) -> Vec<Candidate> {
    let all = candidates(words);
    let Some(trigger) = TRIGGER.as_ref().and_then(|trigger| trigger.find(words)) else { return all };
    let behind = candidates(&words[trigger.start()..]);
    if behind.is_empty() { all } else { behind }
}

fn candidates(words: &str) -> Vec<Candidate> {
    let mut out = Vec::new();
    for line in words.lines() {
        let found = address::all(line);
        for (index, one) in found.iter().enumerate() {
            if !address::has_dot(one.address) || out.len() > 5 * MOST {
                continue;
            }
            let before = &line[..one.start];
            let after = &line[one.end..];
            if ASIDE.as_ref().is_some_and(|aside| aside.is_match(before))
                || after.trim_start_matches(['>', ')']).trim_start().starts_with("wrote")
            {
                continue;
            }
            // `ada@example.com <bob@example.com>`: the first is a name.
            if found.get(index + 1).is_some_and(|next| {
                line[one.end..next.start].trim_matches([' ', '"']) == "<"
                    && address::same(next.address) != address::same(one.address)
            }) {
                continue;
            }
            let head = before.trim_matches(|c: char| {
                c.is_whitespace()
                    || matches!(c, '<' | '"' | '\'' | '*' | '-' | '>' | '•' | '·' | '[' | '(' | '#' | '|' | '+' | ',' | ';')
            });
            // At the start of its line, also behind another: `<a@example.com>, <b@example.com>`; behind a word that says so; `(ada@example.com)` behind a name.
            let follows =
                index > 0 && found[index - 1].end + 6 > one.start && out.last().is_some_and(|last: &Candidate| last.strong);
            let strong = head.is_empty()
                || before.trim_end_matches(['<', ' ', '"', '[', '(']).ends_with(':')
                || follows
                || LABEL.as_ref().is_some_and(|label| label.is_match(before))
                || is_numbered(head);
            out.push(Candidate { address: one.address.to_owned(), strong });
        }
    }
    out
}

/// `550 <ada@example.com>... User unknown`, `1. ada@example.com`.
fn is_numbered(head: &str) -> bool {
    let head = head.trim_end_matches(['.', ':', ' ', '-']);
    !head.is_empty()
        && head.len() <= 14
        && head.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b' ' | b'-' | b'#'))
}
