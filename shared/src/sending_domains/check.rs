//! One thing that was looked at in a domain's DNS.

use serde::{Deserialize, Serialize};

/// How it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = CheckVerdict)]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// Mail goes out; it could be better.
    Warn,
    /// Receivers would not trust the mail.
    Fail,
}

/// A check of a verification, as it is kept and told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = DomainCheck)]
pub struct Check {
    /// Which one; one for each selector is `dkim SELECTOR`.
    #[schema(example = "spf")]
    pub name: String,
    /// How it looks.
    pub verdict: Verdict,
    /// False: no name server answered, and the verdict is the one of before.
    pub answered: bool,
    /// What stands in DNS; empty where there is nothing.
    #[schema(example = "v=spf1 -all")]
    pub found: String,
    /// What should stand there.
    #[schema(example = "v=spf1 ip4:192.0.2.1 ~all")]
    pub expected: String,
    /// What to change; empty where nothing is.
    #[schema(example = "publish the expected record at bounces.example.com")]
    pub advice: String,
}

impl Check {
    /// A check that passes.
    #[must_use]
    pub fn pass(name: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::new(name, Verdict::Pass, found, expected, "")
    }

    /// A check that was answered.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        verdict: Verdict,
        found: impl Into<String>,
        expected: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { name: name.into(), verdict, answered: true, found: found.into(), expected: expected.into(), advice: advice.into() }
    }

    /// A check that no name server answered: what was known before stays.
    #[must_use]
    pub fn unanswered(name: impl Into<String>, why: &str, expected: impl Into<String>, before: &[Self]) -> Self {
        let name = name.into();
        let verdict = before.iter().find(|check| check.name == name).map_or(Verdict::Warn, |check| check.verdict);
        Self {
            verdict,
            answered: false,
            found: format!("unknown: {why}"),
            expected: expected.into(),
            advice: "nothing follows from this: it is asked again within the hour".to_owned(),
            name,
        }
    }

    /// Whether it is known to fail now.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.answered && self.verdict == Verdict::Fail
    }
}
