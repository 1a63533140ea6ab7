//! What is written: the shape of the shaping file. `deploy/shaping.default.toml` explains each value.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use figment::{
    Figment,
    providers::{Format, Toml},
};
use serde::Deserialize;

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "documented where an operator reads them: deploy/shaping.default.toml")]
pub struct File {
    pub default: Defaults,
    pub provider: BTreeMap<String, Provider>,
    pub domain: BTreeMap<String, Domain>,
    pub route: BTreeMap<String, BTreeMap<String, RouteProvider>>,
    pub workspace: BTreeMap<String, Workspace>,
    pub rule: BTreeMap<String, Rule>,
}

/// Parts of a retry schedule; what is absent comes from the level below.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "documented where an operator reads them: deploy/shaping.default.toml")]
pub struct RetryPart {
    pub first_seconds: Option<f64>,
    pub factor: Option<f64>,
    pub jitter: Option<f64>,
    pub longest_seconds: Option<f64>,
}

/// How much; absent: no matter of this level. 0: no limit.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "documented where an operator reads them: deploy/shaping.default.toml")]
pub struct Values {
    pub connections: Option<u32>,
    pub messages_per_connection: Option<u32>,
    pub per_second: Option<f64>,
    pub per_minute: Option<f64>,
    pub per_hour: Option<u32>,
    pub per_day: Option<u32>,
    pub retry: RetryPart,
    pub expire_seconds: Option<f64>,
}

/// A block with values and fields of its own: serde's `flatten` would let unknown fields pass.
macro_rules! block {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        #[expect(missing_docs, reason = "documented where an operator reads them: deploy/shaping.default.toml")]
        pub struct $name {
            pub connections: Option<u32>,
            pub messages_per_connection: Option<u32>,
            pub per_second: Option<f64>,
            pub per_minute: Option<f64>,
            pub per_hour: Option<u32>,
            pub per_day: Option<u32>,
            pub retry: RetryPart,
            pub expire_seconds: Option<f64>,
            $(pub $field: $type),*
        }

        impl $name {
            /// The values alone.
            #[must_use]
            pub fn values(&self) -> Values {
                Values {
                    connections: self.connections,
                    messages_per_connection: self.messages_per_connection,
                    per_second: self.per_second,
                    per_minute: self.per_minute,
                    per_hour: self.per_hour,
                    per_day: self.per_day,
                    retry: self.retry.clone(),
                    expire_seconds: self.expire_seconds,
                }
            }
        }
    };
}

block!(
    /// `[default]`
    Defaults {}
);
block!(
    /// `[provider.NAME]`
    Provider { mx_suffixes: Vec<String>, mx_hosts: Vec<String>, domains: Vec<String>, domain_suffixes: Vec<String> }
);
block!(
    /// `[domain."NAME"]`
    Domain {}
);
block!(
    /// `[route."NAME".PROVIDER]`
    RouteProvider { warm_up: Option<WarmUp> }
);
block!(
    /// `[workspace."ID"]`
    Workspace {}
);

/// A ramp: so many messages on the first day, so many on the second.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "documented where an operator reads them: deploy/shaping.default.toml")]
pub struct WarmUp {
    pub first_day: NaiveDate,
    pub per_day: Vec<u32>,
}

/// What an adaptive rule changes for whom.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum RuleScope {
    /// The provider; the domain where it has none.
    #[default]
    Provider,
    /// The recipient's domain.
    Domain,
    /// The provider over the route that it happened on.
    Route,
}

/// `[rule.NAME]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "documented where an operator reads them: deploy/shaping.default.toml")]
pub struct Rule {
    pub off: bool,
    pub providers: Vec<String>,
    pub domains: Vec<String>,
    pub codes: Vec<u16>,
    pub enhanced: Vec<String>,
    pub text: Option<String>,
    pub times_an_hour: Option<u32>,
    pub scope: RuleScope,
    pub slow_to_per_minute: Option<f64>,
    pub connections: Option<u32>,
    pub suspend: bool,
    pub bounce: bool,
    pub for_seconds: Option<f64>,
}

impl File {
    /// Reads the default with `over` laid over it, block by block and value by value.
    ///
    /// # Errors
    /// A sentence that names the place and the value.
    pub fn read(default: &str, over: Option<&str>) -> Result<Self, String> {
        let mut figment = Figment::from(Toml::string(default));
        if let Some(over) = over {
            figment = figment.merge(Toml::string(over));
        }
        figment.extract().map_err(|error| {
            let place = error.path.join(".");
            if place.is_empty() { error.kind.to_string() } else { format!("{place}: {}", error.kind) }
        })
    }
}
