//! The heartbeat: one statement renews all leases of the process, in a task of its own, outside every poll loop.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use shared::{
    PgPool,
    queue::{claim::Lease, fleet, lane::Lane, lease},
    settings::Queue,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::run::{Flag, Stop};

/// How long ago the leases were last known to be ours.
#[derive(Debug)]
pub struct Pulse {
    born: Instant,
    /// Milliseconds after `born` at which the last successful renewal was begun.
    beat_ms: AtomicU64,
    stale: Duration,
}

impl Pulse {
    /// Fresh for `stale` from now on.
    #[must_use]
    pub fn new(stale: Duration) -> Self {
        Self { born: Instant::now(), beat_ms: AtomicU64::new(0), stale }
    }

    fn beat(&self, at: Instant) {
        let millis = at.saturating_duration_since(self.born).as_millis();
        self.beat_ms.fetch_max(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::AcqRel);
    }

    /// Seconds since the last beat.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.born.elapsed().saturating_sub(Duration::from_millis(self.beat_ms.load(Ordering::Acquire)))
    }

    /// Whether anything new may be started: a process that could not renew, because PostgreSQL is away or it was stopped itself, may have
    /// lost its jobs.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.age() < self.stale
    }
}

/// The leases of this process, and its heart.
pub struct Heart {
    /// This process.
    pub worker_id: Uuid,
    /// How it beats.
    pub pulse: Arc<Pulse>,
    leases: Mutex<HashMap<Lease, Arc<Flag>>>,
}

impl Heart {
    /// A heart without leases.
    #[must_use]
    pub fn new(settings: &Queue) -> Self {
        Self {
            worker_id: Uuid::now_v7(),
            pulse: Arc::new(Pulse::new(Duration::from_secs(settings.stale_seconds))),
            leases: Mutex::default(),
        }
    }

    /// Keeps this lease alive until [`Self::release`]. The flag is raised when it is lost or its job is cancelled.
    pub fn keep(&self, lease: Lease) -> Arc<Flag> {
        let flag = Arc::new(Flag::default());
        self.leases.lock().insert(lease, flag.clone());
        flag
    }

    /// The run is over.
    pub fn release(&self, lease: Lease) {
        self.leases.lock().remove(&lease);
    }

    /// Leases that are kept now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.leases.lock().len()
    }

    /// Raises the flag of every run.
    pub fn stop_all(&self, stop: Stop) {
        self.leases.lock().values().for_each(|flag| flag.raise(stop));
    }

    /// One beat: renews, raises the flags of what is lost or cancelled, and only then counts as fresh.
    ///
    /// # Errors
    /// The database failed; nothing was renewed.
    pub async fn beat(&self, pool: &PgPool, lease_seconds: u64) -> Result<(), shared::error::Error> {
        let begun = Instant::now();
        let leases: Vec<Lease> = self.leases.lock().keys().copied().collect();
        let renewed: HashMap<Lease, bool> = if leases.is_empty() {
            HashMap::new()
        } else {
            let renewed = lease::renew(pool, self.worker_id, &leases, lease_seconds).await?;
            renewed.into_iter().map(|r| (r.lease, r.cancel_requested)).collect()
        };
        {
            let kept = self.leases.lock();
            for lease in &leases {
                let Some(flag) = kept.get(lease) else { continue };
                match renewed.get(lease) {
                    None => flag.raise(Stop::LeaseLost),
                    Some(true) => flag.raise(Stop::Cancelled),
                    Some(false) => {}
                }
            }
        }
        self.pulse.beat(begun);
        Ok(())
    }

    /// Beats until `over`.
    pub async fn run(self: Arc<Self>, pool: PgPool, settings: Queue, slots: HashMap<Lane, usize>, over: CancellationToken) {
        let host = hostname();
        let mut ticks = tokio::time::interval(Duration::from_secs(settings.heartbeat_seconds));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = over.cancelled() => break,
            }
            // A beat that fails is tried again soon: the time until staleness is short.
            loop {
                let beat = async {
                    self.beat(&pool, settings.lease_seconds).await?;
                    fleet::seen(&pool, self.worker_id, &host, std::process::id(), &slots).await
                };
                match tokio::time::timeout(Duration::from_secs(settings.heartbeat_seconds), beat).await {
                    Ok(Ok(())) => break,
                    Ok(Err(error)) => tracing::warn!(%error, age_seconds = self.pulse.age().as_secs_f64(), "a heartbeat failed"),
                    Err(_) => tracing::warn!(age_seconds = self.pulse.age().as_secs_f64(), "a heartbeat took too long"),
                }
                if over.is_cancelled() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        if let Err(error) = fleet::left(&pool, self.worker_id).await {
            tracing::warn!(%error, "could not sign off; forgotten after a day");
        }
    }
}

/// The name of this machine, as in the table of workers and in the names of apalis' workers.
#[must_use]
pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}
