//! What the API answers, as far as it is looked at here.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Anything that was made.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Made {
    /// Its id.
    pub id: Uuid,
}

/// The answer to an upload.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Import {
    /// The import.
    pub id: Uuid,
    /// The job that loads it.
    pub job_id: Uuid,
}

/// A job as it is polled.
#[derive(Clone, Debug, Deserialize)]
pub struct Job {
    /// `scheduled`, `queued`, `running`, `succeeded`, `failed`, `cancelled`, `dead`.
    pub state: String,
    /// How far it is.
    pub progress: JobProgress,
    /// What went wrong last.
    #[serde(default)]
    pub error: serde_json::Value,
    /// What it made.
    #[serde(default)]
    pub result: serde_json::Value,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct JobProgress {
    /// Units done: rows of a file.
    pub done: u64,
    /// Units in all, once they are known.
    pub total: Option<u64>,
    /// 0 to 100, once the total is known.
    pub percent: Option<f64>,
}

impl Job {
    /// Whether it will not change any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "succeeded" | "failed" | "cancelled" | "dead")
    }
}

/// A route, in a list.
#[derive(Clone, Debug, Deserialize)]
pub struct Route {
    /// Its id.
    pub id: Uuid,
    /// `smtp://host:port`.
    pub url: String,
}

/// A page of a list.
#[derive(Clone, Debug, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
}

/// Where a campaign stands: each recipient of the audience is in one of the counts.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Progress {
    /// The campaign's state.
    pub state: String,
    /// Null until the launch has counted everybody.
    pub audience: Option<u64>,
    /// Taken by the receiving server.
    pub accepted: u64,
    /// Refused for good as undeliverable.
    pub bounced: u64,
    /// Given up.
    pub failed: u64,
    /// Held back by a suppression.
    pub suppressed: u64,
    /// Not sent because the campaign was cancelled.
    pub cancelled: u64,
    /// In doubt.
    pub unknown: u64,
    /// Waiting for another try.
    pub deferred: u64,
    /// Not begun.
    pub pending: u64,
    /// On the wire.
    pub in_flight: u64,
    /// Messages a second, by the server's own count.
    #[serde(default)]
    pub rate_per_second: Option<f64>,
    /// Seconds left, by the server's own estimate.
    #[serde(default)]
    pub eta_seconds: Option<f64>,
    /// By recipient domain.
    #[serde(default)]
    pub destinations: Vec<Destination>,
}

/// What became of a domain's recipients.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Destination {
    /// The recipients' domain.
    pub domain: String,
    /// As in [`Progress`].
    pub accepted: u64,
    /// As in [`Progress`].
    pub bounced: u64,
    /// As in [`Progress`].
    pub failed: u64,
    /// As in [`Progress`].
    pub deferred: u64,
    /// As in [`Progress`].
    pub unknown: u64,
}

impl Progress {
    /// The counts by name, in the order in which a person reads them.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 9] {
        [
            ("accepted", self.accepted),
            ("bounced", self.bounced),
            ("failed", self.failed),
            ("suppressed", self.suppressed),
            ("cancelled", self.cancelled),
            ("unknown", self.unknown),
            ("deferred", self.deferred),
            ("pending", self.pending),
            ("in flight", self.in_flight),
        ]
    }

    /// Everybody who is counted.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.counts().iter().map(|(_, count)| count).sum()
    }

    /// Whether each recipient is in exactly one count; true while the audience is not known.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.audience.is_none_or(|audience| audience == self.sum())
    }

    /// Recipients about whom nothing more will happen.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.accepted + self.bounced + self.failed + self.suppressed + self.cancelled + self.unknown
    }

    /// Whether the campaign has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "finished" | "finished_with_failures" | "cancelled")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_balances_when_each_recipient_is_counted_once() {
        let mut progress = Progress { audience: Some(10), accepted: 6, deferred: 2, pending: 2, ..Progress::default() };
        assert!(progress.balances());
        progress.pending = 1;
        assert!(!progress.balances(), "one recipient is nowhere");
        progress.audience = None;
        assert!(progress.balances(), "the launch still counts");
    }
}
