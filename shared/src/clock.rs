//! Business time. Leases use the database's clock; everything that a person would put in a calendar uses this one.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use chrono::{DateTime, TimeDelta, Utc};

/// The time of the business: the system's, or one that a test moves by hand.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    fixed_micros: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands still at `now` until it is advanced.
    #[must_use]
    pub fn fixed(now: DateTime<Utc>) -> Self {
        Self { fixed_micros: Some(Arc::new(AtomicI64::new(now.timestamp_micros()))) }
    }

    /// Now, to the microsecond, which is PostgreSQL's resolution.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        let micros = match &self.fixed_micros {
            Some(fixed) => fixed.load(Ordering::Acquire),
            #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
            None => Utc::now().timestamp_micros(),
        };
        DateTime::from_timestamp_micros(micros).unwrap_or_default()
    }

    /// Moves a fixed clock; a system clock ignores it.
    pub fn advance(&self, by: TimeDelta) {
        if let Some(fixed) = &self.fixed_micros {
            fixed.fetch_add(by.num_microseconds().unwrap_or(0), Ordering::AcqRel);
        }
    }
}
