//! The doctor: looks at everything that a house stands on, and says of each part whether it will do, and what to do where it will not.
//!
//! [`postgres`], [`redis`], [`objects`] and [`network`] look at the parts, [`process`] at what the system gives this process. Opening
//! sessions with relays is the worker's, which has the SMTP client.

pub mod network;
pub mod objects;
pub mod postgres;
pub mod process;
pub mod redis;

use std::fmt::Write;

use serde::Serialize;

use crate::{clock::Clock, database, settings::Settings};

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It will do.
    Ok,
    /// It will do for now.
    Warn,
    /// It will not do.
    Fail,
}

/// One look at one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The part, e.g. `redis.policy`.
    pub name: String,
    /// What the look came to.
    pub verdict: Verdict,
    /// What was seen.
    pub says: String,
    /// What to do, where something is to be done.
    pub mend: Option<String>,
}

impl Check {
    /// It will do.
    pub fn ok(name: impl Into<String>, says: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Ok, says: says.into(), mend: None }
    }

    /// It will do for now.
    pub fn warn(name: impl Into<String>, says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Warn, says: says.into(), mend: Some(mend.into()) }
    }

    /// It will not do.
    pub fn fail(name: impl Into<String>, says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Fail, says: says.into(), mend: Some(mend.into()) }
    }
}

/// What a process of one kind needs of its surroundings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs<'a> {
    /// Connections to PostgreSQL.
    pub database_connections: u32,
    /// Open files: connections, and a few more.
    pub open_files: u64,
    /// Settings of listeners, with their addresses.
    pub listeners: &'a [(&'static str, &'a str)],
}

/// Looks at everything but relays.
pub async fn examine(settings: &Settings, needs: Needs<'_>, clock: &Clock) -> Vec<Check> {
    let mut checks = vec![Check::ok("settings", "readable and complete")];
    match database::pool(&settings.database, "mochila-doctor") {
        Ok(pool) => checks.extend(postgres::look(&pool, needs.database_connections, clock).await),
        Err(error) => checks.push(Check::fail("postgres", format!("database.url is malformed: {error}"), "correct database.url")),
    }
    checks.extend(redis::look(&settings.redis, clock).await);
    checks.extend(objects::look(&settings.store).await);
    checks.push(network::public_name(&settings.api.public_url).await);
    checks.push(process::open_files(needs.open_files));
    for (setting, address) in needs.listeners {
        checks.push(process::listener(setting, address).await);
    }
    checks
}

/// The worst of them.
#[must_use]
pub fn verdict(checks: &[Check]) -> Verdict {
    checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok)
}

/// A line a check, with what to do below it where something is to be done.
#[must_use]
pub fn report(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let word = match check.verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warn => "WARN",
            Verdict::Fail => "FAIL",
        };
        let _ = writeln!(text, "{word}  {:<width$}  {}", check.name, check.says);
        if let Some(mend) = &check.mend {
            let _ = writeln!(text, "      {:width$}  -> {mend}", "");
        }
    }
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    let _ = writeln!(
        text,
        "\n{} ok, {} to look at, {} that will not do",
        count(Verdict::Ok),
        count(Verdict::Warn),
        count(Verdict::Fail)
    );
    text
}

/// The rule for clocks: leases and campaigns are timed by PostgreSQL, tokens by Redis, people by this machine.
pub(super) fn skew(name: &str, seconds: f64) -> Check {
    let says = format!("the clocks differ by {:.1} s", seconds.abs());
    let mend = "let chrony or systemd-timesyncd keep the time on both machines";
    match seconds.abs() {
        ..=1.0 => Check::ok(name, says),
        ..=5.0 => Check::warn(name, says, mend),
        _ => Check::fail(name, says, mend),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_a_second_and_must_not_by_five() {
        assert_eq!(
            [0.9, -3.0, 5.5, f64::NAN].map(|seconds| skew("x", seconds).verdict),
            [Verdict::Ok, Verdict::Warn, Verdict::Fail, Verdict::Fail]
        );
    }

    #[test]
    fn the_report_says_what_to_do_and_counts() {
        let checks = [Check::ok("a", "fine"), Check::fail("long.name", "broken", "mend it")];
        assert_eq!(
            report(&checks),
            "ok    a          fine\nFAIL  long.name  broken\n                 -> mend it\n\n1 ok, 0 to look at, 1 that will not do\n"
        );
        assert_eq!(verdict(&checks), Verdict::Fail);
        assert_eq!(verdict(&checks[..1]), Verdict::Ok);
    }
}
