//! Shaping: how fast, over how many connections, and with which patience mail goes to whom. Rules without SQL.
//!
//! [`file`] is what is written in `deploy/shaping.default.toml` and in the file that an operator lays over it; [`rules`] is that, checked;
//! [`resolve`] says what holds for one route, provider, domain and workspace; [`adapt`] is what replies change.

pub mod adapt;
pub mod file;
pub mod resolve;
pub mod rules;

pub use resolve::{Asked, Level, Shape};
pub use rules::Rules;

/// The embedded default: the file that documents the rules is the default.
pub const DEFAULTS: &str = include_str!("../../../../deploy/shaping.default.toml");

/// The provider of a domain that no block matches; a label of metrics.
pub const OTHER: &str = "other";

/// The name under which a provider has limits, suspensions and counts.
#[must_use]
pub fn provider_scope(provider: &str) -> String {
    format!("provider:{provider}")
}
