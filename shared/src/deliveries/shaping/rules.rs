//! The file, checked: every name that a block uses is there, every value can be kept. What is wrong is told all at once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use uuid::Uuid;

use super::{
    DEFAULTS, OTHER,
    adapt::{self, Adaptive},
    file::{File, Provider, RetryPart, Values, WarmUp},
};
use crate::address;

/// Providers are label values of metrics: a fixed set, and not a long one.
const MOST_PROVIDERS: usize = 100;

/// What holds, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub(super) default: Values,
    pub(super) providers: BTreeMap<Arc<str>, Matched>,
    pub(super) domains: HashMap<String, Values>,
    pub(super) routes: HashMap<String, BTreeMap<String, (Values, Option<WarmUp>)>>,
    pub(super) workspaces: HashMap<Uuid, Values>,
    pub(super) adaptive: Vec<Adaptive>,
    /// Domains that are a provider's by name.
    by_domain: HashMap<String, Arc<str>>,
    /// First labels that are a provider's whatever follows: `yahoo.*`.
    by_label: HashMap<String, Arc<str>>,
}

/// A provider and what its mail hosts are called.
#[derive(Clone, Debug, Default)]
pub(super) struct Matched {
    pub(super) values: Values,
    mx_suffixes: Vec<String>,
    mx_hosts: Vec<String>,
    domain_suffixes: Vec<String>,
}

impl Rules {
    /// The embedded default with `over` laid over it.
    ///
    /// # Errors
    /// Sentences that name the place and the value.
    pub fn read(over: Option<&str>) -> Result<Self, Vec<String>> {
        Self::from_texts(DEFAULTS, over)
    }

    /// As [`Self::read`], with another default.
    ///
    /// # Errors
    /// Sentences that name the place and the value.
    pub fn from_texts(default: &str, over: Option<&str>) -> Result<Self, Vec<String>> {
        let file = File::read(default, over).map_err(|error| vec![error])?;
        let mut rules = Self::default();
        let mut errors = Errors::default();
        rules.default = errors.values("default", file.default.values());
        if file.provider.len() > MOST_PROVIDERS {
            errors.say("provider", format!("there are {} providers, more than {MOST_PROVIDERS}", file.provider.len()));
        }
        for (name, provider) in &file.provider {
            rules.provider(name, provider, &mut errors);
        }
        for (name, block) in &file.domain {
            let place = format!("domain.{name:?}");
            errors.domain(&place, name);
            rules.domains.insert(name.clone(), errors.values(&place, block.values()));
        }
        for (name, block) in &file.workspace {
            let place = format!("workspace.{name:?}");
            let values = errors.values(&place, block.values());
            if values.messages_per_connection.is_some() || values.expire_seconds.is_some() || values.retry != RetryPart::default() {
                errors.say(&place, "a workspace has connections and rates, nothing else".to_owned());
            }
            match name.parse() {
                Ok(id) => drop(rules.workspaces.insert(id, values)),
                Err(_) => errors.say(&place, "is not the id of a workspace".to_owned()),
            }
        }
        for (route, providers) in file.route {
            for (provider, block) in providers {
                let place = format!("route.{route:?}.{provider}");
                let values = errors.values(&place, block.values());
                errors.known_provider(&place, &provider, &rules);
                if let Some(warm_up) = &block.warm_up
                    && (warm_up.per_day.is_empty() || warm_up.per_day.contains(&0))
                {
                    errors.say(&place, "warm_up.per_day needs a number above 0 for each day".to_owned());
                }
                rules.routes.entry(route.clone()).or_default().insert(provider, (values, block.warm_up));
            }
        }
        for (name, rule) in &file.rule {
            let place = format!("rule.{name}");
            for provider in &rule.providers {
                errors.known_provider(&place, provider, &rules);
            }
            for domain in &rule.domains {
                errors.domain(&place, domain);
            }
            match adapt::Adaptive::new(name, rule) {
                Ok(adaptive) if !rule.off => rules.adaptive.push(adaptive),
                Ok(_) => {}
                Err(reasons) => reasons.into_iter().for_each(|reason| errors.say(&place, reason)),
            }
        }
        if errors.0.is_empty() { Ok(rules) } else { Err(errors.0) }
    }

    fn provider(&mut self, name: &str, provider: &Provider, errors: &mut Errors) {
        let place = format!("provider.{name}");
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        if name.is_empty() || name.len() > 32 || !name.chars().all(fits) || name == OTHER {
            errors.say(&place, format!("a provider's name is up to 32 of a-z, 0-9, - and _, and not {OTHER}"));
        }
        let name: Arc<str> = name.into();
        let patterns = [&provider.mx_suffixes, &provider.mx_hosts, &provider.domains, &provider.domain_suffixes];
        if patterns.iter().all(|patterns| patterns.is_empty()) {
            errors.say(&place, "matches nothing: it needs mx_suffixes, mx_hosts, domains or domain_suffixes".to_owned());
        }
        for suffix in provider.mx_suffixes.iter().chain(&provider.domain_suffixes) {
            match suffix.strip_prefix('.') {
                Some(rest) => errors.domain(&place, rest),
                None => errors.say(&place, format!("the suffix {suffix:?} must begin with a dot")),
            }
        }
        for host in &provider.mx_hosts {
            errors.domain(&place, host);
        }
        for domain in &provider.domains {
            let label = domain.strip_suffix(".*");
            match label {
                Some(label) if label.is_empty() || label.contains(|c| !fits(c)) => {
                    errors.say(&place, format!("{domain:?} is no pattern such as yahoo.*"))
                }
                Some(_) => {}
                None => errors.domain(&place, domain),
            }
            let map = if label.is_some() { &mut self.by_label } else { &mut self.by_domain };
            if let Some(other) = map.insert(label.unwrap_or(domain).to_owned(), name.clone()) {
                errors.say(&place, format!("{domain:?} is {other}'s already"));
            }
        }
        let matched = Matched {
            values: errors.values(&place, provider.values()),
            mx_suffixes: provider.mx_suffixes.clone(),
            mx_hosts: provider.mx_hosts.clone(),
            domain_suffixes: provider.domain_suffixes.clone(),
        };
        self.providers.insert(name, matched);
    }

    /// Who runs the domain's mailboxes, as far as its name tells. `domain` in lower case.
    #[must_use]
    pub fn provider_by_name(&self, domain: &str) -> Option<&Arc<str>> {
        // yahoo.co.uk as yahoo.com; mail.yahoo-fan.example is neither.
        let label = || domain.split_once('.').and_then(|(first, _)| self.by_label.get(first));
        let suffix = || {
            let matches = |matched: &Matched| matched.domain_suffixes.iter().any(|suffix| domain.ends_with(suffix.as_str()));
            self.providers.iter().find(|(_, matched)| matches(matched)).map(|(name, _)| name)
        };
        self.by_domain.get(domain).or_else(label).or_else(suffix)
    }

    /// Who runs these mail hosts: the provider whose patterns match every one of them. In lower case, without a dot at the end.
    #[must_use]
    pub fn provider_by_hosts(&self, hosts: &[String]) -> Option<&Arc<str>> {
        let runs = |matched: &Matched, host: &String| {
            matched.mx_hosts.contains(host) || matched.mx_suffixes.iter().any(|suffix| host.ends_with(suffix.as_str()))
        };
        let all = |matched: &Matched| !hosts.is_empty() && hosts.iter().all(|host| runs(matched, host));
        self.providers.iter().find(|(_, matched)| all(matched)).map(|(name, _)| name)
    }

    /// The providers' names: the fixed set that metrics use, without [`OTHER`].
    pub fn provider_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.providers.keys()
    }

    /// Routes that blocks name and that are not among these.
    #[must_use]
    pub fn unknown_routes(&self, names: &[String]) -> Vec<String> {
        let mut unknown: Vec<_> = self.routes.keys().filter(|name| !names.contains(name)).cloned().collect();
        unknown.sort_unstable();
        unknown
    }

    /// Whether blocks name routes or workspaces, which are in the database.
    #[must_use]
    pub fn has_targets(&self) -> bool {
        !self.routes.is_empty() || !self.workspaces.is_empty()
    }

    /// Workspaces that blocks name.
    pub fn workspaces(&self) -> impl Iterator<Item = Uuid> {
        self.workspaces.keys().copied()
    }
}

#[derive(Default)]
struct Errors(Vec<String>);

impl Errors {
    fn say(&mut self, place: &str, reason: String) {
        self.0.push(format!("{place}: {reason}"));
    }

    fn domain(&mut self, place: &str, name: &str) {
        match address::parse_domain(name) {
            Ok(parsed) if parsed == name => {}
            Ok(parsed) => self.say(place, format!("{name:?} must be written {parsed:?}")),
            Err(reason) => self.say(place, format!("{name:?} {reason}")),
        }
    }

    fn known_provider(&mut self, place: &str, provider: &str, rules: &Rules) {
        if !rules.providers.contains_key(provider) {
            let known: Vec<&str> = rules.providers.keys().map(|name| &**name).collect();
            self.say(
                place,
                format!("no provider block is called {provider:?}, so this matches nothing; there are {}", known.join(", ")),
            );
        }
    }

    fn values(&mut self, place: &str, values: Values) -> Values {
        for (name, rate) in [("per_second", values.per_second), ("per_minute", values.per_minute)] {
            if rate.is_some_and(|rate| !(rate == 0.0 || (0.001..=1_000_000.0).contains(&rate))) {
                self.say(
                    place,
                    format!("{name} must be 0 (no limit) or between 0.001 and 1000000, not {}", rate.unwrap_or_default()),
                );
            }
        }
        if values.connections.is_some_and(|connections| connections > 10_000) {
            self.say(place, format!("connections must be up to 10000, not {}", values.connections.unwrap_or_default()));
        }
        let retry = &values.retry;
        let seconds = [
            ("retry.first_seconds", retry.first_seconds),
            ("retry.longest_seconds", retry.longest_seconds),
            ("expire_seconds", values.expire_seconds),
        ];
        for (name, value) in seconds {
            if value.is_some_and(|value| !(value > 0.0 && value <= 2_592_000.0)) {
                self.say(place, format!("{name} must be above 0 and up to 30 days, not {}", value.unwrap_or_default()));
            }
        }
        if retry.factor.is_some_and(|factor| !(1.0..=10.0).contains(&factor)) {
            self.say(place, format!("retry.factor must be between 1 and 10, not {}", retry.factor.unwrap_or_default()));
        }
        if retry.jitter.is_some_and(|jitter| !(0.0..=0.5).contains(&jitter)) {
            self.say(place, format!("retry.jitter must be between 0 and 0.5, not {}", retry.jitter.unwrap_or_default()));
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(over: &str) -> String {
        Rules::read(Some(over)).expect_err("it is refused").join("\n")
    }

    #[test]
    fn the_default_is_well_formed_and_knows_the_big_providers_by_name_and_by_mail_host() {
        let rules = Rules::read(None).expect("the default");
        let by_name = |domain: &str| rules.provider_by_name(domain).map_or(OTHER, |name| name).to_owned();
        assert_eq!(
            ["gmail.com", "hotmail.fr", "yahoo.co.uk", "yahoo.co.jp", "gmx.at", "orange.fr"].map(by_name),
            ["google", "outlook", "yahoo", "yahoo-japan", "gmx", "orange"]
        );
        assert_eq!(["mail.yahoo-fan.example", "example.com", "localhost"].map(by_name), [OTHER; 3]);
        let by_hosts = |hosts: &[&str]| {
            let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
            rules.provider_by_hosts(&hosts).map_or(OTHER, |name| name).to_owned()
        };
        assert_eq!(by_hosts(&["aspmx.l.google.com", "alt1.aspmx.l.google.com"]), "google");
        assert_eq!(by_hosts(&["example-com.mail.protection.outlook.com"]), "office365");
        assert_eq!(by_hosts(&["hotmail-com.olc.protection.outlook.com"]), "outlook");
        assert_eq!(by_hosts(&["aspmx.l.google.com", "mx.example.com"]), OTHER, "every host must match");
        assert_eq!(by_hosts(&["google.com.example.net", "notgoogle.com"]), OTHER);
        assert_eq!(by_hosts(&[]), OTHER);
    }

    #[test]
    fn what_is_wrong_is_told_all_at_once_with_its_place() {
        insta::assert_snapshot!(wrong(
            r#"
            [provider.empty]
            [provider.Ex]
            mx_suffixes = ["example.net", ".Example.org"]
            domains = ["gmail.com"]
            per_second = -1.0
            [domain."Example.com"]
            retry = { factor = 0.5, jitter = 2.0, first_seconds = 0.0 }
            [route."relay".gmail]
            per_day = 10
            [route."relay".google]
            warm_up = { first_day = "2026-12-01", per_day = [10, 0] }
            [workspace."ours"]
            expire_seconds = 60.0
            [rule.gmail-rate]
            providers = ["gmail"]
            enhanced = ["4.7.28"]
            slow_to_per_minute = 10.0
            for_seconds = 1800.0
            [rule.everything]
            suspend = true
            [rule.odd]
            text = '(unclosed'
            codes = [250]
            enhanced = ["4.7"]
            suspend = true
            slow_to_per_minute = 0.0
            "#
        ), @r#"
        provider.Ex: a provider's name is up to 32 of a-z, 0-9, - and _, and not other
        provider.Ex: the suffix "example.net" must begin with a dot
        provider.Ex: "Example.org" must be written "example.org"
        provider.Ex: per_second must be 0 (no limit) or between 0.001 and 1000000, not -1
        provider.empty: matches nothing: it needs mx_suffixes, mx_hosts, domains or domain_suffixes
        provider.google: "gmail.com" is Ex's already
        domain."Example.com": "Example.com" must be written "example.com"
        domain."Example.com": retry.first_seconds must be above 0 and up to 30 days, not 0
        domain."Example.com": retry.factor must be between 1 and 10, not 0.5
        domain."Example.com": retry.jitter must be between 0 and 0.5, not 2
        workspace."ours": a workspace has connections and rates, nothing else
        workspace."ours": is not the id of a workspace
        route."relay".gmail: no provider block is called "gmail", so this matches nothing; there are Ex, apple, barracuda, comcast, empty, gmx, google, kpn, mailru, mimecast, netease, office365, orange, outlook, proton, qq, yahoo, yahoo-japan, yandex
        route."relay".google: warm_up.per_day needs a number above 0 for each day
        rule.everything: matches every reply: it needs codes, enhanced or text
        rule.everything: for_seconds says for how long, and is missing
        rule.gmail-rate: no provider block is called "gmail", so this matches nothing; there are Ex, apple, barracuda, comcast, empty, gmx, google, kpn, mailru, mimecast, netease, office365, orange, outlook, proton, qq, yahoo, yahoo-japan, yandex
        rule.odd: codes are 400 to 599, not 250
        rule.odd: an enhanced code reads 4.7.28, not "4.7"
        rule.odd: text "(unclosed" is no regular expression
        rule.odd: slow_to_per_minute must be between 0.1 and 60000, not 0
        rule.odd: for_seconds says for how long, and is missing
        "#);
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let wrong = [
            wrong("[provider.google]\nconections = 5"),
            wrong("[provider.google]\nconnections = \"five\""),
            wrong("[rule.a]\nscope = \"planet\""),
            wrong("[default"),
        ];
        insta::assert_snapshot!(wrong.join("\n"), @"
        provider.google.conections: unknown field: found `conections`, expected `one of `connections`, `messages_per_connection`, `per_second`, `per_minute`, `per_hour`, `per_day`, `retry`, `expire_seconds`, `mx_suffixes`, `mx_hosts`, `domains`, `domain_suffixes``
        provider.google.connections: invalid type: found string \"five\", expected u32
        rule.a.scope: unknown variant: found `planet`, expected `one of `provider`, `domain`, `route``
        TOML parse error at line 1, column 9
          |
        1 | [default
          |         ^
        invalid table header
        expected `.`, `]`
        ");
    }

    #[test]
    fn a_file_is_laid_over_the_default_value_by_value() {
        let rules = Rules::read(Some("[provider.google]\nconnections = 7\n[rule.yahoo-tss04]\noff = true")).expect("well-formed");
        let google = &rules.providers["google"];
        assert_eq!((google.values.connections, google.values.messages_per_connection), (Some(7), Some(50)));
        assert_eq!(rules.provider_by_name("gmail.com").map(|name| &**name), Some("google"));
        assert!(!rules.adaptive.iter().any(|rule| &*rule.name == "yahoo-tss04"));
    }
}
