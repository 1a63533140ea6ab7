//! What was seen of a campaign while it ran.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::client::answers::Progress;

/// Samples of a campaign's progress, from its send on.
pub struct Journey {
    begun: Instant,
    /// (since the start, settled) of each sample.
    samples: Vec<(Duration, u64)>,
    /// When a domain last had something accepted or failed.
    last_change: BTreeMap<String, (Duration, u64)>,
    peak: f64,
}

impl Journey {
    /// Begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self { begun: Instant::now(), samples: vec![(Duration::ZERO, 0)], last_change: BTreeMap::new(), peak: 0.0 }
    }

    /// Adds a sample.
    pub fn note(&mut self, progress: &Progress) {
        let now = self.begun.elapsed();
        self.samples.push((now, progress.settled()));
        self.peak = self.peak.max(self.rate());
        for destination in &progress.destinations {
            let settled = destination.accepted + destination.bounced + destination.failed + destination.unknown;
            let seen = self.last_change.entry(destination.domain.clone()).or_insert((Duration::ZERO, 0));
            if seen.1 != settled {
                *seen = (now, settled);
            }
        }
    }

    /// Recipients settled per second over the last second or a little more; 0 at the start.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let Some((now, settled)) = self.samples.last() else { return 0.0 };
        let earlier = self.samples.iter().rev().find(|(at, _)| *now >= *at + Duration::from_secs(1));
        let (at, before) = earlier.copied().unwrap_or((Duration::ZERO, 0));
        per_second(settled.saturating_sub(before), now.saturating_sub(at))
    }

    /// The highest [`Journey::rate`] so far.
    #[must_use]
    pub fn peak(&self) -> f64 {
        self.peak
    }

    /// Recipients settled per second from the start to the last change.
    #[must_use]
    pub fn average(&self) -> f64 {
        let settled = self.samples.last().map_or(0, |(_, settled)| *settled);
        let at = self.samples.iter().find(|(_, count)| *count == settled).map_or(Duration::ZERO, |(at, _)| *at);
        per_second(settled, at)
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Seconds left at the present rate; none if nothing moves.
    #[must_use]
    pub fn seconds_left(&self, audience: u64) -> Option<f64> {
        let settled = self.samples.last().map_or(0, |(_, settled)| *settled);
        let rate = self.rate();
        (rate > 0.5).then(|| float(audience.saturating_sub(settled)) / rate)
    }

    /// The domains whose last outcome came latest, with the seconds from the start to it.
    #[must_use]
    pub fn slowest(&self, count: usize) -> Vec<(String, f64)> {
        let mut all: Vec<_> = self.last_change.iter().map(|(domain, (at, _))| (domain.clone(), at.as_secs_f64())).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(count);
        all
    }
}

fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { float(count) / time.as_secs_f64() }
}

/// A count as a float; exact up to 2^53, far beyond any audience.
#[must_use]
pub fn float(count: u64) -> f64 {
    count as f64
}
