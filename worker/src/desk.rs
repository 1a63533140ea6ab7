//! The desk: takes a ticket, claims a job, runs it in a task of its own that a dropped handler cannot cut, and ends it.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use shared::{
    PgPool,
    clock::Clock,
    deliveries::payload::SendChunk,
    error::Error,
    queue::{
        claim::{Claim, Lease},
        job::Job,
        lane::Lane,
        outcome,
        payload::Job as _,
    },
    settings::Settings,
    telemetry::traces,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    heart::Heart,
    registry::Registry,
    run::{Context, Failure, Stop},
    sending::Post,
    stages::{self, Stage},
};

/// Everything that a run needs, and the slots of this process.
pub struct Desk {
    /// PostgreSQL.
    pub pool: PgPool,
    /// All settings.
    pub settings: Arc<Settings>,
    /// Business time.
    pub clock: Clock,
    /// The leases.
    pub heart: Arc<Heart>,
    /// What sends.
    pub post: Arc<Post>,
    /// Set when no job may be begun any more.
    pub closing: CancellationToken,
    /// Runs, to be waited for.
    pub runs: TaskTracker,
    registry: Registry,
    slots: HashMap<Lane, Arc<Semaphore>>,
}

impl Desk {
    /// A desk with these slots by lane.
    #[must_use]
    pub fn new(
        pool: PgPool,
        settings: Arc<Settings>,
        clock: Clock,
        heart: Arc<Heart>,
        post: Arc<Post>,
        slots: &HashMap<Lane, usize>,
    ) -> Self {
        Self {
            pool,
            settings,
            clock,
            heart,
            post,
            closing: CancellationToken::new(),
            runs: TaskTracker::new(),
            registry: Registry::new(),
            slots: slots.iter().map(|(lane, slots)| (*lane, Arc::new(Semaphore::new(*slots)))).collect(),
        }
    }

    /// Serves a ticket: claims and runs a job, if there is one, and others after it as long as there are any and they get on, since the
    /// bell rings a few times a second only. The ticket may be stale, doubled or garbage. Answers how many it ran.
    pub async fn serve(self: &Arc<Self>, lane: Lane, ticket: &[u8]) -> usize {
        let mut hint = Uuid::from_slice(ticket).ok();
        let mut served = 0;
        while let Some(gets_on) = self.serve_one(lane, hint.take()).await {
            served += 1;
            // What waits or fails would be tried again and again, as fast as a claim can be made: the next ticket is early enough.
            if !gets_on {
                break;
            }
        }
        served
    }

    /// Claims and runs a job. Answers whether it got on; nothing if there was none.
    async fn serve_one(self: &Arc<Self>, lane: Lane, hint: Option<Uuid>) -> Option<bool> {
        let slots = self.slots.get(&lane)?;
        if lane == SendChunk::LANE {
            self.post.wires.room.wait(&self.post.ways.open()).await;
        }
        // A run outlives the apalis worker that took its ticket: the slots are the process's.
        let slot = slots.clone().acquire_owned().await.ok()?;
        if self.closing.is_cancelled() || !self.heart.pulse.is_fresh() {
            return None;
        }
        let claim = Claim {
            lane,
            owner: self.heart.worker_id,
            lease_seconds: self.settings.queue.lease_seconds,
            destination_cap: self.settings.sending.destination_cap(lane),
            hint,
        };
        match stages::of(Stage::Claim, claim.take(&self.pool)).await {
            Ok(Some(job)) => {
                let desk = self.clone();
                let run = self.runs.spawn(async move { desk.carry(lane, job, slot).await });
                Some(run.await.unwrap_or(false))
            }
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(%error, %lane, "could not claim");
                tokio::time::sleep(Duration::from_millis(200)).await;
                None
            }
        }
    }

    /// Answers whether the job got on: it is done, or it has had its turn.
    async fn carry(self: Arc<Self>, lane: Lane, job: Job, slot: OwnedSemaphorePermit) -> bool {
        let lease = Lease { job_id: job.id, epoch: job.lease_epoch };
        let flag = self.heart.keep(lease);
        if self.closing.is_cancelled() {
            flag.raise(Stop::Shutdown);
        }
        let begun = Instant::now();
        let waited = (self.clock.now() - job.run_at).to_std().unwrap_or_default();
        metrics::histogram!("job_wait_seconds", "lane" => lane.name()).record(waited.as_secs_f64());
        let span =
            tracing::info_span!("job.run", job.id = %job.id, job.kind = %job.kind, job.epoch = job.lease_epoch, lane = %lane);
        if let Some(trace) = &job.trace {
            traces::follow(&span, trace);
        }
        let timeout = self.registry.timeout(&job.kind).unwrap_or(Duration::from_secs(60));
        let context = Context {
            pool: self.pool.clone(),
            settings: self.settings.clone(),
            clock: self.clock.clone(),
            post: self.post.clone(),
            job_id: job.id,
            lease_epoch: job.lease_epoch,
            workspace_id: job.workspace_id,
            attempt: job.attempt,
            flag,
            pulse: self.heart.pulse.clone(),
            deadline: begun + timeout,
        };
        // A task of its own, so that a panic is an error like any other.
        let desk = self.clone();
        let (kind, payload) = (job.kind.clone(), job.payload.clone());
        let run = tokio::spawn(async move { desk.registry.run(&kind, payload, context).await }.instrument(span.clone()));
        let result = run.await.unwrap_or_else(|panic| Err(Failure::Retry(anyhow::anyhow!("the run panicked: {panic}"))));
        let outcome = self.judge(&job, result);
        let word = word(&outcome);
        self.end(lease, &outcome).instrument(span.clone()).await;
        self.heart.release(lease);
        drop(slot);
        metrics::histogram!("job_duration_seconds", "kind" => job.kind.clone(), "outcome" => word)
            .record(begun.elapsed().as_secs_f64());
        span.in_scope(|| match &outcome {
            outcome::Outcome::Retry { error, .. } | outcome::Outcome::Failed { error } => {
                tracing::warn!(error, outcome = word, duration_ms = begun.elapsed().as_millis(), "a job failed");
            }
            _ => tracing::debug!(outcome = word, duration_ms = begun.elapsed().as_millis(), "a job ended"),
        });
        matches!(outcome, outcome::Outcome::Succeeded(_) | outcome::Outcome::Yielded { delay_ms: 0, error: None })
    }

    fn judge(&self, job: &Job, result: Result<serde_json::Value, Failure>) -> outcome::Outcome {
        match result {
            Ok(value) => outcome::Outcome::Succeeded(value),
            Err(Failure::Retry(error)) => {
                let infrastructure = error.chain().any(|cause| cause.downcast_ref::<Error>().is_some_and(Error::is_infrastructure));
                let error = format!("{error:#}");
                if infrastructure {
                    return outcome::Outcome::Yielded { delay_ms: 1_000, error: Some(error) };
                }
                let base = self.settings.queue.retry_base_ms << u32::try_from(job.attempt.clamp(0, 10)).unwrap_or(0);
                let jitter = rand::random_range(0..=base / 5);
                outcome::Outcome::Retry { error, delay_ms: i64::try_from(base + jitter).unwrap_or(i64::MAX) }
            }
            Err(Failure::Fail(error)) => outcome::Outcome::Failed { error: format!("{error:#}") },
            Err(Failure::Snooze(until)) => outcome::Outcome::Snoozed(until),
            Err(Failure::Yield(delay, error)) => {
                outcome::Outcome::Yielded { delay_ms: i64::try_from(delay.as_millis()).unwrap_or(i64::MAX), error }
            }
            Err(Failure::Stopped(Stop::Cancelled)) => outcome::Outcome::Cancelled,
            Err(Failure::Stopped(Stop::LeaseLost | Stop::Shutdown)) => outcome::Outcome::Yielded { delay_ms: 0, error: None },
        }
    }

    /// Ends the run, however long PostgreSQL is away: another worker may have the job by then, and the epoch makes this a no-op.
    async fn end(&self, lease: Lease, outcome: &outcome::Outcome) {
        loop {
            match outcome::end(&self.pool, lease, outcome).await {
                Ok(true) => return,
                Ok(false) => {
                    tracing::warn!("the lease was lost before the run ended");
                    return;
                }
                Err(error) => tracing::warn!(%error, "could not end the run; trying again"),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

fn word(outcome: &outcome::Outcome) -> &'static str {
    match outcome {
        outcome::Outcome::Succeeded(_) => "succeeded",
        outcome::Outcome::Retry { .. } => "retried",
        outcome::Outcome::Failed { .. } => "failed",
        outcome::Outcome::Snoozed(_) | outcome::Outcome::Yielded { .. } => "snoozed",
        outcome::Outcome::Cancelled => "cancelled",
    }
}
