//! Adaptive rules: what a server's replies change for a while. Only what a server said is held against them: a reply that we made up
//! ourselves (a suspension, an expiry) would feed the rule that caused it.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::{
    file::{Rule, RuleScope},
    rules::Rules,
};

/// Longer patterns than this, compiled, are refused.
const LARGEST_PATTERN: usize = 1 << 20;

/// A rule, ready to be asked.
#[derive(Clone, Debug)]
pub struct Adaptive {
    /// Its name.
    pub name: Arc<str>,
    /// Replies within an hour, over all workers, at which it acts.
    pub times_an_hour: u32,
    /// For whom.
    pub scope: RuleScope,
    /// What it does.
    pub action: Action,
    providers: Vec<String>,
    domains: Vec<String>,
    codes: Vec<u16>,
    enhanced: Vec<String>,
    text: Option<Regex>,
}

/// What a rule does, for so long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Action {
    /// Messages a second from now on; rises again when the time is over.
    pub slow_to: Option<f64>,
    /// Connections, until the time is over.
    pub connections: Option<u32>,
    /// Nothing starts.
    pub suspend: bool,
    /// What is deferred is refused for good.
    pub bounce: bool,
    /// The time.
    pub seconds: f64,
}

/// What a server said, and to whom.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// The recipient's domain.
    pub domain: &'a str,
    /// Who runs it.
    pub provider: &'a str,
    /// Three digits.
    pub code: u16,
    /// `x.y.z`, where it said one.
    pub enhanced: Option<&'a str>,
    /// The words behind.
    pub text: &'a str,
}

impl Adaptive {
    /// The rule, checked.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn new(name: &str, rule: &Rule) -> Result<Self, Vec<String>> {
        let mut wrong = Vec::new();
        if rule.codes.is_empty() && rule.enhanced.is_empty() && rule.text.is_none() {
            wrong.push("matches every reply: it needs codes, enhanced or text".to_owned());
        }
        for code in rule.codes.iter().filter(|code| !(400..=599).contains(*code)) {
            wrong.push(format!("codes are 400 to 599, not {code}"));
        }
        for enhanced in &rule.enhanced {
            let parts: Vec<_> = enhanced.split('.').collect();
            let digits = parts.iter().all(|part| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit()));
            if parts.len() != 3 || !digits || !matches!(parts[0], "4" | "5") {
                wrong.push(format!("an enhanced code reads 4.7.28, not {enhanced:?}"));
            }
        }
        let text = rule.text.as_ref().and_then(|text| {
            let compiled = RegexBuilder::new(text).case_insensitive(true).size_limit(LARGEST_PATTERN).build();
            compiled.map_err(|_| wrong.push(format!("text {text:?} is no regular expression"))).ok()
        });
        if rule.slow_to_per_minute.is_none() && rule.connections.is_none() && !rule.suspend && !rule.bounce {
            wrong.push("does nothing: it needs slow_to_per_minute, connections, suspend or bounce".to_owned());
        }
        if rule.slow_to_per_minute.is_some_and(|rate| !(0.1..=60_000.0).contains(&rate)) {
            wrong.push(format!(
                "slow_to_per_minute must be between 0.1 and 60000, not {}",
                rule.slow_to_per_minute.unwrap_or_default()
            ));
        }
        if rule.connections.is_some_and(|connections| !(1..=10_000).contains(&connections)) {
            wrong.push(format!("connections must be between 1 and 10000, not {}", rule.connections.unwrap_or_default()));
        }
        if rule.times_an_hour == Some(0) {
            wrong.push("times_an_hour must be at least 1".to_owned());
        }
        match rule.for_seconds {
            None => wrong.push("for_seconds says for how long, and is missing".to_owned()),
            Some(seconds) if !(seconds > 0.0 && seconds <= 2_592_000.0) => {
                wrong.push(format!("for_seconds must be above 0 and up to 30 days, not {seconds}"));
            }
            Some(_) => {}
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Self {
            name: name.into(),
            times_an_hour: rule.times_an_hour.unwrap_or(1),
            scope: rule.scope,
            action: Action {
                slow_to: rule.slow_to_per_minute.map(|rate| rate / 60.0),
                connections: rule.connections,
                suspend: rule.suspend,
                bounce: rule.bounce,
                seconds: rule.for_seconds.unwrap_or_default(),
            },
            providers: rule.providers.clone(),
            domains: rule.domains.clone(),
            codes: rule.codes.clone(),
            enhanced: rule.enhanced.clone(),
            text,
        })
    }

    fn matches(&self, said: &Said<'_>) -> bool {
        let everywhere = self.providers.is_empty() && self.domains.is_empty();
        (everywhere
            || self.providers.iter().any(|name| name == said.provider)
            || self.domains.iter().any(|name| name == said.domain))
            && (self.codes.is_empty() || self.codes.contains(&said.code))
            && (self.enhanced.is_empty() || said.enhanced.is_some_and(|code| self.enhanced.iter().any(|one| one == code)))
            && self.text.as_ref().is_none_or(|text| text.is_match(said.text))
    }
}

impl Rules {
    /// The rules that match what a server said.
    pub fn matching<'a>(&'a self, said: &'a Said<'a>) -> impl Iterator<Item = &'a Adaptive> {
        self.adaptive.iter().filter(move |rule| rule.matches(said))
    }

    /// The rule of this name, unless it is off.
    #[must_use]
    pub fn adaptive(&self, name: &str) -> Option<&Adaptive> {
        self.adaptive.iter().find(|rule| &*rule.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(provider: &str, domain: &str, code: u16, enhanced: Option<&str>, text: &str) -> Vec<String> {
        let rules = Rules::read(None).expect("the default");
        let said = Said { domain, provider, code, enhanced, text };
        rules.matching(&said).map(|rule| rule.name.to_string()).collect()
    }

    #[test]
    fn the_default_rules_know_what_the_big_providers_say() {
        let tss = "[TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints";
        assert_eq!(names("yahoo", "yahoo.com", 421, Some("4.7.0"), tss), ["yahoo-tss04"]);
        assert_eq!(names("google", "gmail.com", 421, Some("4.7.28"), "unusual rate of unsolicited mail"), ["google-rate"]);
        assert_eq!(
            names("outlook", "hotmail.com", 451, Some("4.7.500"), "Server busy. Please try again later"),
            ["outlook-busy", "outlook-busy-long"]
        );
        assert_eq!(names("other", "example.com", 554, Some("5.7.1"), "poor reputation of the sending address"), ["reputation"]);
        assert!(names("other", "example.com", 421, Some("4.7.0"), tss).is_empty(), "Yahoo's words count at Yahoo");
        assert!(names("google", "gmail.com", 550, Some("5.1.1"), "no such user").is_empty());
    }
}
