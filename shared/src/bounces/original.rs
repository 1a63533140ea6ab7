//! The message that came back: where it begins in a text, and what its headers tell.

use std::sync::LazyLock;

use regex::Regex;

use super::{
    Original, address,
    lines::Headers,
    sections::{Mail, Role},
};

/// Lines that say "from here on it is your own message".
static MARK: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let marks = [
        r"[-=_*#+ ]{2,}\W*(?:(?:the )?(?:original|returned|unsent|undelivered|undeliverable|bounced|failed|your) (?:message|mail|e-?mail|text)|message (?:header|text|content|body|source)|header of the|below this line|this is a copy|included is|copy of|begin(?:ning)? (?:of )?(?:the )?(?:original|returned|message)|unsent message|headers? (?:of|from)|returned (?:mail|message)|text of|undelivered-message|forwarded message|original|mensaje original|mensagem original|message d'origine|messaggio originale|(?:ursprüngliche|original)nachricht)",
        // What a virus scanner puts under every mail.
        r"_{8,} +\S.* _{8,} *$",
        r"(?:the )?original message (?:follows|headers?|details|is attached|text|was:|below)",
        r"original message(?: is)? ?(?:attached|included|enclosed)?:? *$",
        r"(?:the )?message headers? follows?",
        r"(?:below|included|attached|here|following|enclosed) (?:is|are|follows) (?:a |the |your )?(?:copy|header|original|message|first)\b.*:? *$",
        r"(?:a )?copy of (?:the|your) (?:original )?(?:message|mail|e-?mail)(?: header| headers)?(?: follows| is (?:below|attached)| below)?[:.]? *$",
        r"(?:the )?headers? of (?:the|your) (?:original )?(?:message|mail).*:? *$",
        r"(?:the )?(?:text|body|first \d+ (?:lines|bytes)|beginning|start|contents?) of (?:the|your) (?:original |returned )?(?:message|mail|e-?mail).*:? *$",
        r"unsent message follows",
        r"(?:received|return-path|x-envelope-from|x-gm-message-state|dkim-signature|x-google-smtp-source|arc-seal|x-originating-ip):[^/]",
        r"original mail as follows",
        r"your (?:original )?(?:message|mail) (?:follows|reads).*:? *$",
        r"message (?:contents?|body|text) follows?",
    ];
    Regex::new(&format!(r"(?im)^[>| ]{{0,4}}(?:{})", marks.join("|"))).ok()
});

/// Cuts a text for people from the message below it.
pub(super) fn cut(text: &str) -> (&str, &str) {
    match MARK.as_ref().and_then(|mark| mark.find_iter(text).find(|found| found.start() > 0 || found.as_str().contains(':'))) {
        Some(found) => text.split_at(found.start()),
        None => (text, ""),
    }
}

/// The headers of the message that came back.
pub(super) fn headers(mail: &Mail) -> Headers {
    for text in mail.texts(Role::Original) {
        let (headers, _) = Headers::read(text.trim_start_matches('\n'));
        if !headers.0.is_empty() {
            return headers;
        }
    }
    for text in mail.texts(Role::Human).chain(mail.texts(Role::Other)) {
        let (_, below) = cut(text);
        let start = below
            .lines()
            .position(|line| super::lines::field(line.trim_start()).is_some_and(|(name, _)| !name.contains('.') && name.len() > 1));
        let Some(start) = start else { continue };
        let below: Vec<&str> = below.lines().skip(start).take(400).collect();
        let indented = below.first().is_some_and(|line| line.starts_with(' '));
        let unindented = below.iter().map(|line| if indented { line.strip_prefix("   ").unwrap_or(line) } else { line });
        let (headers, _) = Headers::read(&unindented.collect::<Vec<&str>>().join("\n"));
        if headers.0.len() > 1 {
            return headers;
        }
    }
    Headers::default()
}

/// What the notice and the message in it say about the message.
pub(super) fn of(mail: &Mail, headers: &Headers) -> Original {
    let bracketed = |value: &str| {
        let inner = value.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(id, _)| id);
        let id = inner.unwrap_or_else(|| value.split_whitespace().next().unwrap_or_default());
        (id.contains('@') && id.len() < 998).then(|| id.to_owned())
    };
    let elsewhere = || {
        let reported = mail.texts(Role::Status).flat_map(str::lines).filter_map(super::lines::field);
        let reported =
            reported.filter(|(name, _)| name.eq_ignore_ascii_case("x-original-message-id")).find_map(|(_, id)| bracketed(id));
        reported.or_else(|| ["in-reply-to", "references"].iter().find_map(|name| mail.headers.get(name).and_then(bracketed)))
    };
    let sender = ["return-path", "x-envelope-from", "x-env-sender", "errors-to", "sender"];
    let through = || {
        let received =
            headers.all("received").find_map(|line| line.to_ascii_lowercase().find("envelope-from").and_then(|at| line.get(at..)));
        received.and_then(address::first).map(str::to_owned)
    };
    Original {
        message_id: headers.get("message-id").and_then(bracketed).or_else(elsewhere),
        return_path: sender.iter().find_map(|name| headers.get(name).and_then(address::first)).map(str::to_owned).or_else(through),
        recipients: ["to", "cc", "x-envelope-to", "apparently-to"]
            .iter()
            .flat_map(|name| headers.all(name))
            .flat_map(address::all)
            .map(|found| found.address.to_owned())
            .take(100)
            .collect(),
        headers: headers.0.iter().take(100).cloned().collect(),
    }
}

/// Whom it was for, as the servers on its way noted.
pub(super) fn received_for(headers: &Headers) -> Vec<String> {
    let noted = headers.all("received").filter_map(|line| {
        let at = line.to_ascii_lowercase().find(" for ")?;
        let found = address::all(line.get(at + 5..)?).into_iter().next()?;
        (found.start < 3).then(|| found.address.to_owned())
    });
    noted.take(50).collect()
}
