//! What a job sees: its context, its checkpoint, and the ways in which it can end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use serde_json::Value;
use shared::{
    PgPool,
    clock::Clock,
    queue::{claim::Lease, outcome, payload::Job},
    settings::Settings,
};
use uuid::Uuid;

use crate::{heart::Pulse, sending::Post};

/// How a kind of job is run.
pub trait Run: Job {
    /// Runs it once. `?` on any error means: try again.
    fn run(self, context: &Context) -> impl Future<Output = Outcome> + Send;
}

/// The result for people, or why there is none.
pub type Outcome = Result<Value, Failure>;

/// Why a run ends without a result.
#[derive(Debug)]
pub enum Failure {
    /// May pass: another attempt after a delay. An infrastructure error burns none.
    Retry(anyhow::Error),
    /// Will not pass.
    Fail(anyhow::Error),
    /// Not before; burns no attempt.
    Snooze(DateTime<Utc>),
    /// Back in line after this; burns no attempt.
    Yield(Duration, Option<String>),
    /// Somebody or something asked for the end.
    Stopped(Stop),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Retry(error.into())
    }
}

/// Why a run has to end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stop {
    /// A person cancelled the job.
    Cancelled = 1,
    /// Another worker may have the job by now.
    LeaseLost = 2,
    /// The process shuts down.
    Shutdown = 3,
}

/// The flag that the heart raises for a run.
#[derive(Debug, Default)]
pub struct Flag(AtomicU8);

impl Flag {
    /// Raises it; the first reason stays.
    pub fn raise(&self, stop: Stop) {
        let _ = self.0.compare_exchange(0, stop as u8, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Whether it is raised.
    #[must_use]
    pub fn raised(&self) -> Option<Stop> {
        match self.0.load(Ordering::Acquire) {
            1 => Some(Stop::Cancelled),
            2 => Some(Stop::LeaseLost),
            3 => Some(Stop::Shutdown),
            _ => None,
        }
    }
}

/// What a run may use. One per run.
#[derive(Clone)]
pub struct Context {
    /// PostgreSQL.
    pub pool: PgPool,
    /// All settings.
    pub settings: Arc<Settings>,
    /// Business time.
    pub clock: Clock,
    /// What sends.
    pub post: Arc<Post>,
    /// The job.
    pub job_id: Uuid,
    /// The claim that this run began with.
    pub lease_epoch: i64,
    /// Whose job it is.
    pub workspace_id: Option<Uuid>,
    /// Failed attempts so far.
    pub attempt: i32,
    pub(crate) flag: Arc<Flag>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) deadline: Instant,
}

impl Context {
    /// The fence of this run.
    #[must_use]
    pub fn lease(&self) -> Lease {
        Lease { job_id: self.job_id, epoch: self.lease_epoch }
    }

    /// Why nothing new may be started, if so: asked to stop, or the heart has not beaten for too long. Costs nothing.
    #[must_use]
    pub fn stop(&self) -> Option<Stop> {
        self.flag.raised().or_else(|| (!self.pulse.is_fresh()).then_some(Stop::LeaseLost))
    }

    /// Stores progress, and ends the run where it has to end: cancelled, shutting down, lease lost, out of time.
    ///
    /// # Errors
    /// [`Failure::Stopped`], or the database failed.
    pub async fn checkpoint(&self, done: i64, total: Option<i64>) -> Result<(), Failure> {
        if let Some(stop) = self.stop() {
            return Err(Failure::Stopped(stop));
        }
        match outcome::progress(&self.pool, self.lease(), done, total).await? {
            None => Err(Failure::Stopped(Stop::LeaseLost)),
            Some(true) => Err(Failure::Stopped(Stop::Cancelled)),
            Some(false) if Instant::now() >= self.deadline => {
                Err(Failure::Retry(anyhow::anyhow!("the run took longer than its time limit")))
            }
            Some(false) => Ok(()),
        }
    }
}
