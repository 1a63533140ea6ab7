//! The rule: what the checks make of a domain.
//!
//! ```text
//! pending → verified ⇄ degraded → failed → verified
//! ```
//!
//! A domain is verified once every check was answered and none fails. One that fails later is degraded: mail still goes out, and the alert
//! says so. It is failed after three days of it, and at once where neither SPF nor DKIM holds, since every receiver would refuse its mail
//! then. What no name server answered changes nothing: an outage of DNS takes nobody's domain away.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    check::{Check, Verdict},
    sending_domain::State,
};

/// How long a domain may be degraded.
pub const PATIENCE: TimeDelta = TimeDelta::days(3);

/// What follows from a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The state from now on.
    pub state: State,
    /// Since when a check fails.
    pub failing_since: Option<DateTime<Utc>>,
}

/// Decides.
#[must_use]
pub fn decide(state: State, failing_since: Option<DateTime<Utc>>, checks: &[Check], now: DateTime<Utc>) -> Decision {
    let failing = checks.iter().any(Check::fails);
    let mut silent = checks.iter().filter(|check| !check.answered && can_fail(check)).peekable();
    let unanswered = silent.peek().is_some();
    let unknown = silent.any(|check| check.verdict != Verdict::Pass);
    if !failing {
        return match state {
            // A domain is never taken for verified by what was not asked.
            State::Pending if unanswered => Decision { state, failing_since },
            State::Degraded | State::Failed if unknown => Decision { state, failing_since },
            _ => Decision { state: State::Verified, failing_since: None },
        };
    }
    let since = failing_since.unwrap_or(now);
    let state = match state {
        State::Pending | State::Failed => state,
        State::Verified | State::Degraded if untrusted(checks) || now - since >= PATIENCE => State::Failed,
        State::Verified | State::Degraded => State::Degraded,
    };
    Decision { state, failing_since: Some(since) }
}

/// Whether a domain waits for this check: the others are noted, whatever the name servers of whoever runs the relays say.
fn can_fail(check: &Check) -> bool {
    !matches!(check.name.as_str(), "alignment" | "mx" | "ptr" | "mta_sts" | "tls_rpt")
}

/// Neither of the two ways in which DMARC passes is left.
fn untrusted(checks: &[Check]) -> bool {
    let no_dkim = {
        let mut keys = checks.iter().filter(|check| check.name.starts_with("dkim ")).peekable();
        keys.peek().is_some() && keys.all(|check| check.answered && check.verdict != Verdict::Pass)
    };
    no_dkim && checks.iter().any(|check| check.name == "spf" && check.fails())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, verdict: Verdict) -> Check {
        Check::new(name, verdict, "", "", "")
    }

    fn unanswered(name: &str, before: Verdict) -> Check {
        Check::unanswered(name, "SERVFAIL", "", &[check(name, before)])
    }

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("a date") + TimeDelta::hours(hours)
    }

    fn decided(state: State, since: Option<i64>, checks: &[Check]) -> (State, Option<DateTime<Utc>>) {
        let Decision { state, failing_since } = decide(state, since.map(at), checks, at(0));
        (state, failing_since)
    }

    #[test]
    fn a_domain_is_verified_once_nothing_fails_and_degraded_while_something_does() {
        let good = [check("spf", Verdict::Pass), check("dkim a", Verdict::Pass), check("mta_sts", Verdict::Warn)];
        let bad = [check("spf", Verdict::Fail), check("dkim a", Verdict::Pass)];
        assert_eq!(decided(State::Pending, None, &good), (State::Verified, None));
        assert_eq!(decided(State::Pending, None, &bad), (State::Pending, Some(at(0))));
        assert_eq!(decided(State::Verified, None, &bad), (State::Degraded, Some(at(0))));
        assert_eq!(decided(State::Degraded, Some(-71), &bad), (State::Degraded, Some(at(-71))));
        assert_eq!(decided(State::Degraded, Some(-72), &bad), (State::Failed, Some(at(-72))));
        assert_eq!(decided(State::Degraded, Some(-72), &good), (State::Verified, None));
        assert_eq!(decided(State::Failed, Some(-100), &bad), (State::Failed, Some(at(-100))));
        assert_eq!(decided(State::Failed, Some(-100), &good), (State::Verified, None));
    }

    #[test]
    fn a_domain_whose_mail_nobody_would_take_fails_at_once() {
        let neither = [check("spf", Verdict::Fail), check("dkim a", Verdict::Fail), check("dkim b", Verdict::Warn)];
        assert_eq!(decided(State::Verified, None, &neither), (State::Failed, Some(at(0))));
        let one_key = [check("spf", Verdict::Fail), check("dkim a", Verdict::Fail), check("dkim b", Verdict::Pass)];
        assert_eq!(decided(State::Verified, None, &one_key), (State::Degraded, Some(at(0))));
        let unsure = [check("spf", Verdict::Fail), unanswered("dkim a", Verdict::Pass)];
        assert_eq!(decided(State::Verified, None, &unsure), (State::Degraded, Some(at(0))));
    }

    #[test]
    fn what_nobody_answered_changes_no_state() {
        let silent = [unanswered("spf", Verdict::Pass), unanswered("dkim a", Verdict::Pass)];
        assert_eq!(decided(State::Pending, None, &silent), (State::Pending, None));
        assert_eq!(decided(State::Verified, None, &silent), (State::Verified, None));
        let noted = [check("spf", Verdict::Pass), check("dkim a", Verdict::Pass), unanswered("ptr", Verdict::Warn)];
        assert_eq!(decided(State::Pending, None, &noted), (State::Verified, None), "nobody waits for what is only noted");
        let failed_before = [unanswered("spf", Verdict::Fail), check("dkim a", Verdict::Pass)];
        assert_eq!(decided(State::Degraded, Some(-100), &failed_before), (State::Degraded, Some(at(-100))));
        assert_eq!(decided(State::Failed, Some(-100), &failed_before), (State::Failed, Some(at(-100))));
    }
}
