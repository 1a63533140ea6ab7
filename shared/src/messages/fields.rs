//! The rule that says which header fields a sender may add to a message. Everything that says who sends what to whom, and everything that
//! a receiver trusts, is the house's.

use std::collections::BTreeMap;

use crate::error::FieldError;

/// Fields of one message.
const MOST: usize = 20;
/// Octets of a value: with its name it stays below RFC 5322's 998 of a line.
const LONGEST_VALUE: usize = 900;

/// Fields that are no `X-…` and may be given. Their values have a syntax of their own, so they are ASCII and are not encoded.
const ALLOWED: [&str; 14] = [
    "auto-submitted",
    "content-language",
    "feedback-id",
    "importance",
    "in-reply-to",
    "keywords",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "organization",
    "precedence",
    "priority",
    "references",
    "thread-topic",
];

/// Checks the fields and answers them in their order.
pub fn checked(given: &BTreeMap<String, String>, errors: &mut Vec<FieldError>) -> Vec<(String, String)> {
    if given.len() > MOST {
        errors.push(FieldError::new("headers", format!("must be at most {MOST} fields, not {}", given.len())));
    }
    for (name, value) in given {
        if let Err(reason) = one(name, value) {
            errors.push(FieldError::new(format!("headers.{name}"), reason));
        }
    }
    let mut names: Vec<String> = given.keys().map(|name| name.to_ascii_lowercase()).collect();
    names.sort();
    if let Some(twice) = names.windows(2).find(|two| two[0] == two[1]) {
        errors.push(FieldError::new(format!("headers.{}", twice[0]), "stands there twice"));
    }
    given.iter().map(|(name, value)| (name.clone(), value.trim().to_owned())).collect()
}

fn one(name: &str, value: &str) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || name.len() > 76 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err("is no name of a header field: letters, digits and hyphens".to_owned());
    }
    let own = lower.starts_with("x-") && !lower.starts_with("x-mochila");
    if !own && !ALLOWED.contains(&lower.as_str()) {
        return Err(format!("cannot be set; there are X-… and {}", ALLOWED.join(", ")));
    }
    if value.chars().any(char::is_control) {
        return Err(format!("holds a control character: {}", value.escape_debug()));
    }
    if value.trim().is_empty() || value.len() > LONGEST_VALUE {
        return Err(format!("must be 1 to {LONGEST_VALUE} octets, not {}", value.len()));
    }
    if !own && !value.is_ascii() {
        return Err("must be ASCII".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(name: &str, value: &str) -> usize {
        let mut errors = Vec::new();
        checked(&BTreeMap::from([(name.to_owned(), value.to_owned())]), &mut errors);
        errors.len()
    }

    #[test]
    fn what_says_who_sends_is_the_houses_own() {
        for name in [
            "From",
            "to",
            "Bcc",
            "Subject",
            "DKIM-Signature",
            "Message-ID",
            "Return-Path",
            "Content-Type",
            "Received",
            "Sender",
            "Date",
        ] {
            assert_eq!(errors(name, "x"), 1, "{name}");
        }
        for name in ["X-Order", "In-Reply-To", "References", "List-Unsubscribe"] {
            assert_eq!(errors(name, "<a@example.com>"), 0, "{name}");
        }
    }

    #[test]
    fn a_value_is_one_line() {
        assert_eq!(errors("X-Order", "66\r\nBcc: all@example.com"), 1);
        assert_eq!(errors("X-Order", "66\n"), 1);
        assert_eq!(errors("X Order", "66"), 1);
        assert_eq!(errors("X-Order:", "66"), 1);
        assert_eq!(errors("X-Order", &"6".repeat(901)), 1);
        assert_eq!(errors("X-City", "Genève"), 0);
        assert_eq!(errors("References", "Genève"), 1);
    }

    #[test]
    fn a_field_stands_there_once_however_it_is_spelled() {
        let mut errors = Vec::new();
        checked(&BTreeMap::from([("X-a".to_owned(), "1".to_owned()), ("x-A".to_owned(), "2".to_owned())]), &mut errors);
        assert_eq!(errors.len(), 1);
    }
}
