//! E-mail addresses: one that is parsed can be put on the wire and into the table as it stands.

use std::fmt;

use unicode_normalization::UnicodeNormalization;

/// Longest local part in octets, RFC 5321 section 4.5.3.1.1.
const LONGEST_LOCAL: usize = 64;
/// Longest address in octets: a path of 256 with its angle brackets, RFC 5321 section 4.5.3.1.3.
const LONGEST_ADDRESS: usize = 254;
/// Longest label of a domain in octets, RFC 1035 section 2.3.4.
const LONGEST_LABEL: usize = 63;

/// An address of the form that mail systems agree on: dot-atom, `@`, a domain name with a dot in it. Lower case; a domain in another
/// script stands as its A-label. What stands before the `@` is ASCII, but of a recipient. Quoted local parts, address literals and comments are refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    whole: String,
    at: usize,
}

impl Address {
    /// Reads an address that every server takes; spaces around it are not taken away.
    ///
    /// # Errors
    /// What is wrong with it, lower case, without the address itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(text, |local| {
            check_local(local)?;
            Ok(local.to_ascii_lowercase())
        })
    }

    /// Reads an address that mail goes to: what stands before the `@` may be in any script (RFC 6531). It is kept composed (NFC) and in lower case,
    /// as every other one. Servers without SMTPUTF8 do not take it.
    ///
    /// # Errors
    /// What is wrong with it, lower case, without the address itself.
    pub fn parse_recipient(text: &str) -> Result<Self, String> {
        if text.is_ascii() {
            return Self::parse(text);
        }
        Self::read(text, |local| {
            let local = composed(local);
            if let Some(character) = local.chars().find(|c| is_unseen(*c)) {
                return Err(format!("holds {}, which nobody can see, before the @", character.escape_unicode()));
            }
            // Each letter of another script is as good as an ASCII one.
            let alike: String = local.chars().map(|c| if c.is_ascii() { c } else { 'a' }).collect();
            check_local(&alike)?;
            if local.len() > LONGEST_LOCAL {
                return Err(format!("has {} octets before the @, more than {LONGEST_LOCAL}", local.len()));
            }
            Ok(local)
        })
    }

    fn read(text: &str, local_part: impl Fn(&str) -> Result<String, String>) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        if let Some(character) = text.chars().find(|c| c.is_control() || c.is_whitespace()) {
            return Err(format!("holds {}, which no address may", character.escape_default()));
        }
        let (local, domain) = text.rsplit_once('@').ok_or("has no @")?;
        let local = local_part(local)?;
        let domain = to_ascii(domain)?;
        check_domain(&domain)?;
        let whole = format!("{local}@{domain}");
        if whole.len() > LONGEST_ADDRESS {
            return Err(format!("is {} characters long, more than {LONGEST_ADDRESS}", whole.len()));
        }
        Ok(Self { whole, at: local.len() })
    }

    /// The whole address, lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.whole
    }

    /// What stands before the `@`.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.whole[..self.at]
    }

    /// What stands after the `@`: ASCII, lower case.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.whole[self.at + 1..]
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.whole)
    }
}

impl AsRef<str> for Address {
    fn as_ref(&self) -> &str {
        &self.whole
    }
}

/// Reads a domain name alone, as in a suppression or a limit: ASCII, lower case.
///
/// # Errors
/// What is wrong with it.
pub fn parse_domain(text: &str) -> Result<String, String> {
    let domain = to_ascii(text)?;
    check_domain(&domain)?;
    if domain.len() > LONGEST_ADDRESS - 2 {
        return Err(format!("is {} characters long, more than {}", domain.len(), LONGEST_ADDRESS - 2));
    }
    Ok(domain)
}

fn check_local(local: &str) -> Result<(), String> {
    if local.is_empty() {
        return Err("has nothing before the @".to_owned());
    }
    if !local.is_ascii() {
        return Err("has a letter outside ASCII before the @, which only servers with SMTPUTF8 take".to_owned());
    }
    if local.len() > LONGEST_LOCAL {
        return Err(format!("has {} characters before the @, more than {LONGEST_LOCAL}", local.len()));
    }
    if local.starts_with('"') {
        return Err("has a quoted part before the @, which is not supported".to_owned());
    }
    if local.starts_with('.') || local.ends_with('.') || local.contains("..") {
        return Err("has a misplaced dot before the @".to_owned());
    }
    match local.chars().find(|c| !is_atext(*c) && *c != '.') {
        Some(character) => Err(format!("holds {character:?} before the @")),
        None => Ok(()),
    }
}

/// In lower case, in the one spelling that all who write it the same way mean.
fn composed(local: &str) -> String {
    if local.is_ascii() { local.to_ascii_lowercase() } else { local.to_lowercase().nfc().collect() }
}

/// What makes two addresses look the same, turns a line round, or belongs to nobody.
fn is_unseen(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}'
            | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{ffff}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..
    ) || u32::from(character) & 0xfffe == 0xfffe
}

/// RFC 5322 section 3.2.3.
fn is_atext(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(character)
}

fn to_ascii(domain: &str) -> Result<String, String> {
    let domain = domain.to_lowercase();
    // A URL's host may hold percent-encoding and be an address in numbers; a mail domain may not.
    let needs_mapping = !domain.is_ascii() || domain.contains("xn--");
    if !needs_mapping || domain.contains('%') {
        return Ok(domain);
    }
    match url::Host::parse(&domain) {
        Ok(url::Host::Domain(ascii)) => Ok(ascii),
        _ => Err("has a domain that is not a valid international name".to_owned()),
    }
}

fn check_domain(domain: &str) -> Result<(), String> {
    if domain.is_empty() {
        return Err("has no domain".to_owned());
    }
    if domain.starts_with('[') {
        return Err("has an address literal instead of a domain name".to_owned());
    }
    if domain.starts_with('.') || domain.ends_with('.') || domain.contains("..") {
        return Err("has a misplaced dot in its domain".to_owned());
    }
    let mut labels = 0;
    let mut last = "";
    for label in domain.split('.') {
        if label.len() > LONGEST_LABEL {
            return Err(format!("has a part of {} characters in its domain, more than {LONGEST_LABEL}", label.len()));
        }
        if let Some(character) = label.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-') {
            return Err(format!("holds {character:?} in its domain"));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("has a part that begins or ends with a hyphen in its domain".to_owned());
        }
        labels += 1;
        last = label;
    }
    if labels < 2 {
        return Err("has no dot in its domain".to_owned());
    }
    if last.bytes().all(|b| b.is_ascii_digit()) {
        return Err("has a domain that ends in a number".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_is_lower_case_and_its_domain_ascii() {
        let parsed = Address::parse("Ada.Lovelace+news@Bücher.Example.COM").expect("valid");
        assert_eq!(parsed.as_str(), "ada.lovelace+news@xn--bcher-kva.example.com");
        assert_eq!((parsed.local(), parsed.domain()), ("ada.lovelace+news", "xn--bcher-kva.example.com"));
    }

    #[test]
    fn a_malformed_address_is_refused_with_its_reason() {
        let long_local = format!("{}@example.com", "a".repeat(65));
        let long_whole = format!("a@{}.com", ["b".repeat(63), "c".repeat(63), "d".repeat(63), "e".repeat(63)].join("."));
        let long_label = format!("a@{}.com", "b".repeat(64));
        let refused = [
            "",
            "a",
            "@b.test",
            "a@",
            "a@b",
            "a@b..c",
            "a@.b.c",
            "a@b.c.",
            ".a@b.test",
            "a.@b.test",
            "a..b@c.test",
            "a b@c.test",
            "a@b .test",
            "a@b.test\r\n",
            "a\n@b.test",
            "a\0@b.test",
            "a@b@c.test",
            "<a@b.test>",
            "\"a b\"@c.test",
            "\"a\"@c.test",
            "a@[127.0.0.1]",
            "a@127.0.0.1",
            "a@-b.test",
            "a@b-.test",
            "a@b_c.test",
            "ü@b.test",
            "a@b.test,c@d.test",
            "a@xn--a.test",
            "a@b%2etest.test",
            "a@b.test\u{2028}",
            &long_local,
            &long_whole,
            &long_label,
        ];
        let reasons: Vec<String> =
            refused.iter().map(|text| Address::parse(text).expect_err(&format!("{text:?} is refused"))).collect();
        insta::assert_snapshot!(reasons[4..6].join("\n"), @r"
        has no dot in its domain
        has a misplaced dot in its domain
        ");
        assert!(reasons.iter().all(|reason| !reason.contains(['\r', '\n', '\0'])));
    }

    #[test]
    fn a_recipient_may_be_written_in_any_script() {
        let read = |text: &str| Address::parse_recipient(text).map(|address| address.as_str().to_owned());
        assert_eq!(read("Zo\u{65}\u{308}@Bücher.test").as_deref(), Ok("zoë@xn--bcher-kva.test"), "composed, in lower case");
        for good in ["用户@例え.test", "अजय@example.com", "квіточка@пошта.укр", "Dörte.Ä+x@example.com", "a@b.test"]
        {
            let address = read(good).unwrap_or_else(|reason| panic!("{good} {reason}"));
            assert_eq!(read(&address).as_deref(), Ok(address.as_str()), "it stays itself");
        }
        for (bad, reason) in [
            ("zo\u{200b}ë@b.test", "holds \\u{200b}, which nobody can see, before the @"),
            ("zo\u{202e}ë@b.test", "holds \\u{202e}, which nobody can see, before the @"),
            ("\"zoë\"@b.test", "has a quoted part before the @, which is not supported"),
            (".zoë@b.test", "has a misplaced dot before the @"),
            ("zoë(x)@b.test", "holds '(' before the @"),
        ] {
            assert_eq!(read(bad).expect_err(bad), reason);
        }
        let long = format!("{}@b.test", "ë".repeat(33));
        assert_eq!(read(&long).expect_err("66 octets"), "has 66 octets before the @, more than 64");
        assert!(Address::parse("zoë@b.test").is_err(), "who sends is known to every server");
    }

    proptest! {
        #[test]
        fn whatever_recipient_is_accepted_is_safe_on_the_wire_and_stays_itself(text in "\\PC{1,12}@[a-z]{1,5}\\.test|(?s).{1,12}@b.test") {
            if let Ok(address) = Address::parse_recipient(&text) {
                let (local, domain) = (address.local(), address.domain());
                prop_assert!(domain.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()));
                prop_assert!(!local.chars().any(|c| c.is_control() || c.is_whitespace() || "<>,;\"()\\@".contains(c)));
                prop_assert!(address.as_str().len() <= LONGEST_ADDRESS && local.len() <= LONGEST_LOCAL);
                prop_assert_eq!(&Address::parse_recipient(address.as_str()).expect("again"), &address);
                prop_assert_eq!(Address::parse(&text).ok(), Some(address.clone()).filter(|_| text.is_ascii()));
            }
        }

        #[test]
        fn whatever_is_accepted_is_safe_on_the_wire_and_stays_itself(text in "\\PC{0,8}[a-zA-Z0-9.\"@ +_-]{0,12}@[a-zA-Z0-9äß.-]{0,20}\\PC{0,3}") {
            if let Ok(address) = Address::parse(&text) {
                prop_assert!(address.as_str().bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()));
                prop_assert_eq!(address.as_str().matches('@').count(), 1);
                prop_assert!(!address.as_str().contains(['<', '>', ',', ';', '"', '(', ')', '\\']));
                prop_assert_eq!(&Address::parse(address.as_str()).expect("again"), &address);
                prop_assert!(address.as_str().parse::<lettre::Address>().is_ok());
            }
        }

        #[test]
        fn an_ordinary_address_is_accepted(local in "[a-z0-9]{1,10}([.+_-][a-z0-9]{1,10}){0,3}", domain in "[a-z0-9]{1,10}(-[a-z0-9]{1,5})?(\\.[a-z]{2,8}){1,3}") {
            let text = format!("{local}@{domain}");
            let parsed = Address::parse(&text);
            prop_assert_eq!(parsed.as_ref().map(Address::as_str), Ok(text.as_str()));
        }

        #[test]
        fn no_input_panics(text in any::<String>()) {
            let _ = Address::parse(&text);
            let _ = Address::parse_recipient(&text);
            let _ = parse_domain(&text);
        }
    }
}
