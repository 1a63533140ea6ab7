//! What mail servers mean, by one table for SMTP replies and for delivery reports: `bounce_rules.toml`. A rule without SQL.

use std::{collections::HashMap, sync::LazyLock};

use regex::RegexSet;
use serde::Deserialize;

/// The table as it is written.
pub const TABLE: &str = include_str!("bounce_rules.toml");

/// How much of a reply is looked at, in bytes: the longest ones end in advertisements.
const LONGEST: usize = 4000;

/// What a server complains about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// No such address.
    InvalidRecipient,
    /// The address exists, disabled or dormant.
    Inactive,
    /// The address's domain does not exist, or takes no mail.
    BadDomain,
    /// The mailbox is full.
    Quota,
    /// Somebody's rule forbids it: the recipient's, the list's, the site's.
    Policy,
    /// Taken for spam.
    SpamBlock,
    /// Our address or network is not liked.
    Reputation,
    /// SPF, DKIM, DMARC, reverse DNS, or the sender's address.
    Authentication,
    /// Too much, too fast.
    Rate,
    /// No way there: loops, networks, unreachable hosts.
    Routing,
    /// The server has a trouble of its own, for now.
    Transient,
    /// Given up after days.
    Expired,
    /// The server and we are out of step.
    Protocol,
    /// The server does not take mail for others from us.
    RelayDenied,
    /// The message itself: its size, its encoding.
    Content,
    /// None of these.
    Other,
}

impl Class {
    /// One word, for logs, metrics and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRecipient => "invalid_recipient",
            Self::Inactive => "inactive",
            Self::BadDomain => "bad_domain",
            Self::Quota => "quota",
            Self::Policy => "policy",
            Self::SpamBlock => "spam_block",
            Self::Reputation => "reputation",
            Self::Authentication => "authentication",
            Self::Rate => "rate",
            Self::Routing => "routing",
            Self::Transient => "transient",
            Self::Expired => "expired",
            Self::Protocol => "protocol",
            Self::RelayDenied => "relay_denied",
            Self::Content => "content",
            Self::Other => "other",
        }
    }
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// No more mail to this address.
    Suppress,
    /// Suppress for a time after several in a row.
    Count,
    /// Later is fine.
    Retry,
    /// Ours to put right: another try by itself helps nobody.
    Mend,
}

/// What spoke for the class, from the strongest down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ground {
    /// Nothing.
    Nothing,
    /// The three digits of SMTP.
    Reply,
    /// An enhanced code that is used for everything.
    VagueCode,
    /// A word that often means this.
    Hint,
    /// A telling enhanced code.
    Code,
    /// A telling text.
    Text,
}

/// A judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// What the server complains about.
    pub class: Class,
    /// The address itself is bad.
    pub hard: bool,
    /// What is done about it.
    pub remedy: Remedy,
    /// What spoke for it.
    pub ground: Ground,
}

const NOTHING: Meaning = Meaning { class: Class::Other, hard: false, remedy: Remedy::Count, ground: Ground::Nothing };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    rule: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    class: Class,
    hard: bool,
    action: Remedy,
    #[serde(default)]
    sure: Vec<String>,
    #[serde(default)]
    codes: Vec<String>,
    #[serde(default)]
    doubts: Vec<String>,
    #[serde(default)]
    hints: Vec<String>,
    #[serde(default)]
    vague: Vec<String>,
    #[serde(default)]
    replies: Vec<u16>,
}

/// Patterns of all rules in the file's order, and the rule that each belongs to.
struct Patterns {
    set: RegexSet,
    rules: Vec<usize>,
}

impl Patterns {
    fn of(rules: &[Rule], texts: impl Fn(&Rule) -> &[String]) -> Result<Self, String> {
        let (owners, patterns): (Vec<usize>, Vec<&String>) =
            rules.iter().enumerate().flat_map(|(rule, r)| texts(r).iter().map(move |text| (rule, text))).unzip();
        let set = regex::RegexSetBuilder::new(patterns).size_limit(64 << 20).dfa_size_limit(16 << 20).build();
        Ok(Self { set: set.map_err(|error| error.to_string())?, rules: owners })
    }

    fn first(&self, text: &str) -> Option<usize> {
        self.set.matches(text).iter().next().and_then(|pattern| self.rules.get(pattern).copied())
    }
}

/// The table, compiled.
struct Table {
    meanings: Vec<Meaning>,
    /// Of each rule.
    doubts: Vec<Vec<String>>,
    sure: Patterns,
    hints: Patterns,
    codes: HashMap<String, usize>,
    vague: HashMap<String, usize>,
    replies: HashMap<u16, usize>,
}

impl Table {
    fn read(written: &str) -> Result<Self, String> {
        let rules = toml::from_str::<Written>(written).map_err(|error| error.to_string())?.rule;
        let mut table = Self {
            meanings: rules
                .iter()
                .map(|rule| Meaning { class: rule.class, hard: rule.hard, remedy: rule.action, ..NOTHING })
                .collect(),
            doubts: rules.iter().map(|rule| rule.doubts.clone()).collect(),
            sure: Patterns::of(&rules, |rule| &rule.sure)?,
            hints: Patterns::of(&rules, |rule| &rule.hints)?,
            codes: HashMap::new(),
            vague: HashMap::new(),
            replies: HashMap::new(),
        };
        for (index, rule) in rules.iter().enumerate() {
            for code in &rule.codes {
                table.codes.entry(code.clone()).or_insert(index);
            }
            for code in &rule.vague {
                table.vague.entry(code.clone()).or_insert(index);
            }
            for reply in &rule.replies {
                table.replies.entry(*reply).or_insert(index);
            }
        }
        Ok(table)
    }

    fn judge(&self, enhanced: Option<&str>, code: Option<u16>, text: &str) -> Meaning {
        let text = folded(text);
        let detail = enhanced.and_then(|code| code.split_once('.')).map(|(_, detail)| detail);
        let coded = |codes: &HashMap<String, usize>| detail.and_then(|detail| codes.get(detail).copied());
        let found = None
            .or_else(|| self.sure.first(&text).map(|rule| (rule, Ground::Text)))
            .or_else(|| coded(&self.codes).map(|rule| (rule, Ground::Code)))
            .or_else(|| self.hints.first(&text).map(|rule| (rule, Ground::Hint)))
            .or_else(|| coded(&self.vague).map(|rule| (rule, Ground::VagueCode)))
            .or_else(|| code.and_then(|code| self.replies.get(&code).copied()).map(|rule| (rule, Ground::Reply)));
        let Some((rule, ground)) = found else { return NOTHING };
        let Some(meaning) = self.meanings.get(rule) else { return NOTHING };
        let doubted =
            detail.is_some_and(|detail| self.doubts.get(rule).is_some_and(|codes| codes.iter().any(|code| code == detail)));
        // "For now" with a code for an address is a server that does not know yet; in words it means what it says.
        let for_now = enhanced.is_some_and(|code| code.starts_with('4')) && ground < Ground::Text;
        Meaning { hard: meaning.hard && !for_now && !doubted, ground, ..*meaning }
    }
}

static RULES: LazyLock<Option<Table>> = LazyLock::new(|| Table::read(TABLE).ok());

/// Compiles the table, which the first judgement would do otherwise: a tenth of a second that no connection should wait for.
pub fn compile() {
    LazyLock::force(&RULES);
}

/// Judges what a server said. `enhanced` is an enhanced status code such as 5.1.1, `code` a basic reply code, `text` all its words.
#[must_use]
pub fn judge(enhanced: Option<&str>, code: Option<u16>, text: &str) -> Meaning {
    RULES.as_ref().map_or(NOTHING, |table| table.judge(enhanced, code, text))
}

/// In lower case, white space folded, without the codes at the head of continued lines: those cut sentences in two. Of addresses and of
/// links' paths nothing is left but their shape: `spam-catcher@example.com` is nobody's verdict.
fn folded(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(LONGEST));
    for word in text.split_whitespace() {
        if out.len() > LONGEST {
            break;
        }
        if !out.is_empty() && continued(word) {
            continue;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        nameless(word, |part| out.extend(part.chars().flat_map(char::to_lowercase)));
    }
    out
}

/// Passes on a word in which each address is `@` and each link ends with its host.
fn nameless(word: &str, mut pass: impl FnMut(&str)) {
    let word = match word.find("://") {
        Some(at) => {
            let host = at + 3;
            let end = word[host..].find(['/', '?', '#']).map_or(word.len(), |end| host + end);
            &word[..end]
        }
        None => word,
    };
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+' | b'%' | b'=');
    let bytes = word.as_bytes();
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == b'@').map(|at| from + at) {
        let start = bytes[from..at].iter().rposition(|byte| !of_name(*byte)).map_or(from, |last| from + last + 1);
        let mut end = bytes[at + 1..].iter().position(|byte| !of_name(*byte)).map_or(bytes.len(), |end| at + 1 + end);
        while end > at + 1 && bytes[end - 1] == b'.' {
            end -= 1;
        }
        pass(word.get(from..start).unwrap_or_default());
        pass("@");
        from = end;
    }
    pass(word.get(from..).unwrap_or_default());
}

/// `550-5.1.1` or `550-`.
fn continued(word: &str) -> bool {
    let Some((code, rest)) = word.split_once('-') else { return false };
    code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit()) && rest.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_table_is_well_formed() {
        let table = Table::read(TABLE).expect("a table");
        assert!(table.meanings.len() > 14);
        for (code, rule) in &table.codes {
            assert!(!table.vague.contains_key(code), "{code} is telling and vague at once, see rule {rule}");
        }
    }

    /// What is said, then class and `hard`.
    const SAID: &[(&str, &str, bool)] = &[
        ("550 5.1.1 <ada@example.com>... User unknown", "invalid_recipient", true),
        ("550 5.7.1 No such user here", "invalid_recipient", true),
        ("554 5.0.0 The email account that you tried to reach does not exist", "invalid_recipient", true),
        ("550 5.4.1 Recipient address rejected: Access denied", "invalid_recipient", true),
        ("550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", "invalid_recipient", true),
        ("450 4.1.1 Recipient address rejected: unverified address", "invalid_recipient", true),
        ("450 4.1.1 later", "invalid_recipient", false),
        ("550 5.1.1", "invalid_recipient", true),
        ("550 5.7.17", "invalid_recipient", true),
        ("550 5.1.1 sid=1 Address rejected ada@example.com. [code=28]", "invalid_recipient", true),
        ("550 recipient rejected", "invalid_recipient", true),
        ("550-ada@example.com is not an active address at this host (invalid username)", "invalid_recipient", true),
        ("553-you are trying to use me [mx.example.com] as a relay, but I have not been told to let you", "relay_denied", false),
        ("450 all hosts have been failing for a long time and were last tried after this message arrived", "expired", false),
        ("451 Name service error for name=shop.test type=MX: Malformed name server reply", "routing", false),
        ("550 5.7.1 The recipient has blocked you", "policy", false),
        ("550 5.1.2 User reject", "policy", false),
        ("550 5.0.0 Archived recipient", "inactive", false),
        ("550 Destinatario desconocido o mailbox lleno", "quota", false),
        ("550 Esta casilla ha expirado por falta de uso", "inactive", false),
        ("550 mail receiving disabled", "bad_domain", true),
        ("554 5.0.0 BAD_RECIPIENT - see https://example.com/spam", "invalid_recipient", true),
        ("550 5.0.0 envelope expired", "expired", false),
        ("550 5.2.0 Unknown user", "invalid_recipient", false),
        ("553 5.1.0 host.example.com does not exist (in reply to MAIL FROM command)", "authentication", false),
        ("552 5.1.1 mailbox full", "quota", false),
        ("452 4.2.2 The recipient's inbox is out of storage space", "quota", false),
        ("550 5.2.1 The email account that you tried to reach is disabled", "inactive", false),
        ("550 5.1.2 Host unknown (Name server: example.test: host not found)", "bad_domain", true),
        ("556 5.1.10 Domain example.com does not accept mail (nullMX)", "bad_domain", true),
        ("553 5.1.8 Domain of sender address ada@example.com does not exist", "authentication", false),
        ("450 4.7.1 Client host rejected: cannot find your hostname, [192.0.2.1]", "authentication", false),
        ("550 5.7.26 Unauthenticated email from example.com is not accepted due to domain's DMARC policy", "authentication", false),
        ("554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", "reputation", false),
        ("550 5.7.1 Our system has detected that this message is likely unsolicited mail", "spam_block", false),
        ("554 5.7.1 <ada@example.com>: Relay access denied", "relay_denied", false),
        ("421 4.7.28 unusual rate of unsolicited mail", "spam_block", false),
        ("452 4.5.3 Too many recipients", "rate", false),
        ("552 5.3.4 Message size exceeds fixed maximum message size", "content", false),
        ("554 5.4.6 Hop count exceeded - possible mail loop", "routing", false),
        ("503 5.5.1 bad sequence of commands", "protocol", false),
        ("550 5.7.1", "policy", false),
        ("550 no", "other", false),
    ];

    fn said(reply: &str) -> Meaning {
        let mut words = reply.splitn(2, ' ');
        let code = words.next().and_then(|word| word.parse().ok());
        let rest = words.next().unwrap_or_default();
        let enhanced = rest.split(' ').next().filter(|word| word.split('.').count() == 3 && word.len() > 4);
        judge(enhanced, code, rest)
    }

    #[test]
    fn each_reply_gets_its_class() {
        for (reply, class, hard) in SAID {
            let meaning = said(reply);
            assert_eq!((meaning.class.as_str(), meaning.hard), (*class, *hard), "{reply}");
        }
    }

    #[test]
    fn names_and_links_are_no_verdict() {
        let folded = folded("<Junk.Mail@spam.example.com>... See https://example.com/no-such-user?x#spam, (a@b.test).");
        assert_eq!(folded, "<@>... see https://example.com (@).");
        let meaning = judge(Some("5.2.2"), Some(452), "452 <spam@example.com> Mailbox size limit exceeded");
        assert_eq!((meaning.class, meaning.hard), (Class::Quota, false));
        let meaning = judge(Some("5.0.0"), Some(550), "<unknown@example.com>: Recipient address rejected: on hold");
        assert!(!meaning.hard);
    }

    #[test]
    fn a_sentence_over_several_lines_is_one_sentence() {
        let text = "550-5.1.1 The email account that you tried to reach does\n550-5.1.1 not exist. Please check\n550 5.1.1 again";
        assert_eq!(judge(None, Some(550), text).ground, Ground::Text);
    }

    proptest! {
        // The patterns are slow where dependencies are not optimized.
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn anything_is_judged(enhanced in ".{0,12}", code in 0_u16.., text in "(?s).{0,120}") {
            let _ = judge(Some(&enhanced), Some(code), &text);
        }
    }
}
