//! What a scenario has shown.

use std::time::Duration;

use serde::Serialize;

use crate::client::{answers::Progress, sink::Stats};

/// A scenario's figures, and what was wrong.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// The scenario.
    pub name: String,
    /// Everything that is not as it must be; empty: passed.
    pub problems: Vec<String>,
    /// Recipients.
    pub audience: u64,
    /// Recorded as accepted.
    pub accepted: u64,
    /// Distinct messages that the sink took.
    pub arrived: u64,
    /// Messages that it took twice.
    pub duplicates: u64,
    /// Recipients without any trace of an outcome.
    pub lost: u64,
    /// Left in doubt.
    pub unknown: u64,
    /// The most that may be in doubt.
    pub unknown_bound: u64,
    /// Samples of the balance.
    pub samples: u32,
    /// From the end of the fault until more was accepted.
    pub recovery_seconds: Option<f64>,
    /// The whole scenario.
    pub duration_seconds: f64,
    /// Anything else worth knowing.
    pub remarks: Vec<String>,
}

impl Verdict {
    /// Whether nothing was wrong.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.problems.is_empty()
    }

    /// Holds a finished campaign against what the sink counted.
    pub fn judge(&mut self, progress: &Progress, arrived: &Stats) {
        let audience = progress.audience.unwrap_or(0);
        self.audience = audience;
        self.accepted = progress.accepted;
        self.unknown = progress.unknown;
        self.arrived = arrived.unique_message_ids;
        self.duplicates = arrived.duplicates;
        // Recorded as accepted although it never arrived, or nowhere in the ledger.
        self.lost = progress.accepted.saturating_sub(arrived.unique_message_ids) + audience.saturating_sub(progress.settled());
        let expected_state = if progress.unknown + progress.failed > 0 { "finished_with_failures" } else { "finished" };
        let settled = progress.accepted + progress.bounced + progress.failed + progress.suppressed + progress.unknown;
        let checks = [
            (progress.state == expected_state, format!("the campaign is {}, not {expected_state}", progress.state)),
            (
                settled == audience,
                format!("accepted, bounced, failed, suppressed and unknown are {settled}, the audience is {audience}"),
            ),
            (
                progress.failed + progress.bounced + progress.suppressed == 0,
                format!(
                    "{} failed, {} bounced, {} suppressed at a healthy sink",
                    progress.failed, progress.bounced, progress.suppressed
                ),
            ),
            (self.lost == 0, format!("{} lost", self.lost)),
            (self.duplicates == 0, format!("{} received twice", self.duplicates)),
            (
                arrived.unique_message_ids <= progress.accepted + progress.unknown,
                format!(
                    "{} arrived, but only {} are accepted and {} unknown",
                    arrived.unique_message_ids, progress.accepted, progress.unknown
                ),
            ),
            (self.unknown <= self.unknown_bound, format!("{} unknown, at most {} may be", self.unknown, self.unknown_bound)),
        ];
        self.problems.extend(checks.into_iter().filter(|(holds, _)| !holds).map(|(_, text)| text));
    }

    /// Adds how long it took.
    pub fn took(&mut self, time: Duration) {
        self.duration_seconds = time.as_secs_f64();
    }

    /// One line of the table.
    #[must_use]
    pub fn row(&self) -> String {
        let recovery = self.recovery_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s"));
        format!(
            "{:<22} {:<6} {:>9} {:>9} {:>5} {:>6} {:>8} {:>6} {:>8} {:>9} {:>8.0} s",
            self.name,
            if self.passed() { "ok" } else { "FAILED" },
            self.accepted,
            self.arrived,
            self.lost,
            self.duplicates,
            self.unknown,
            self.unknown_bound,
            self.samples,
            recovery,
            self.duration_seconds
        )
    }

    /// The line above the table.
    #[must_use]
    pub fn heading() -> String {
        format!(
            "{:<22} {:<6} {:>9} {:>9} {:>5} {:>6} {:>8} {:>6} {:>8} {:>9} {:>10}",
            "scenario", "", "accepted", "arrived", "lost", "twice", "unknown", "bound", "samples", "recovery", "duration"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(accepted: u64, unknown: u64) -> Progress {
        let state = if unknown > 0 { "finished_with_failures" } else { "finished" };
        Progress { state: state.to_owned(), audience: Some(100), accepted, unknown, ..Progress::default() }
    }

    fn judged(progress: &Progress, unique: u64, duplicates: u64, bound: u64) -> Vec<String> {
        let mut verdict = Verdict { unknown_bound: bound, ..Verdict::default() };
        let arrived = Stats { received: unique + duplicates, unique_message_ids: unique, duplicates, ..Stats::default() };
        verdict.judge(progress, &arrived);
        verdict.problems
    }

    #[test]
    fn a_clean_run_passes() {
        assert!(judged(&finished(100, 0), 100, 0, 0).is_empty());
    }

    #[test]
    fn doubt_is_allowed_up_to_its_bound() {
        assert!(judged(&finished(97, 3), 99, 0, 3).is_empty());
        assert_eq!(judged(&finished(97, 3), 99, 0, 2), ["3 unknown, at most 2 may be"]);
    }

    #[test]
    fn a_message_that_is_accepted_but_never_arrived_is_lost() {
        assert_eq!(judged(&finished(100, 0), 99, 0, 0), ["1 lost"]);
    }

    #[test]
    fn a_message_that_arrived_twice_or_unrecorded_is_seen() {
        assert_eq!(judged(&finished(100, 0), 100, 1, 0), ["1 received twice"]);
        let unrecorded = judged(&finished(97, 3), 101, 0, 4);
        assert_eq!(unrecorded, ["101 arrived, but only 97 are accepted and 3 unknown"]);
    }
}
