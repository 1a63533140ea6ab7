//! Watching jobs and campaigns: server-sent events. [`board`] asks PostgreSQL once for everything that is watched in this process,
//! [`stream`] tells one watcher, [`seats`] bounds how many streams a user may have open.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use shared::{
    PgPool,
    campaigns::progress::{self, Progress},
    clock::Clock,
    queue::{inspect, job::Job},
};
use uuid::Uuid;

use self::{
    board::{Board, Sight},
    seats::Seats,
};

pub mod board;
pub mod seats;
pub mod stream;

/// How fast the machinery turns.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// How often what is watched is looked at; a look that takes long comes round less often.
    pub look: Duration,
    /// How often a stream's credentials are checked.
    pub recheck: Duration,
    /// How often a silent stream says that it lives.
    pub heartbeat: Duration,
    /// How long a stream lasts; the client comes back by itself.
    pub longest: Duration,
}

impl Default for Rhythm {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { look: Duration::from_millis(500), recheck: seconds(15), heartbeat: seconds(15), longest: seconds(3600) }
    }
}

/// Everything that is watched in this process.
pub struct Events {
    /// Jobs.
    pub jobs: Arc<Board<Job>>,
    /// Campaigns.
    pub campaigns: Arc<Board<Progress>>,
    /// Who watches how much.
    pub seats: Seats,
    /// How fast it turns.
    pub rhythm: Rhythm,
}

impl Events {
    /// Nothing is watched yet.
    #[must_use]
    pub fn new(pool: &PgPool, clock: &Clock, streams_per_user: usize, rhythm: Rhythm) -> Self {
        let (for_jobs, for_campaigns) = (pool.clone(), pool.clone());
        let jobs = Board::new(rhythm.look, clock, move |ids| look_at_jobs(for_jobs.clone(), ids).boxed());
        // Counting a campaign of a million takes a good part of a second: they are looked at half as often, and less when that is dear.
        let campaigns = Board::new(rhythm.look * 2, clock, move |ids| look_at_campaigns(for_campaigns.clone(), ids).boxed());
        Self { jobs, campaigns, seats: Seats::new(streams_per_user), rhythm }
    }
}

async fn look_at_jobs(pool: PgPool, ids: Vec<Uuid>) -> shared::error::Result<Vec<(Uuid, Sight<Job>)>> {
    let jobs = inspect::these(&pool, &ids).await?;
    Ok(jobs.into_iter().map(|job| (job.id, of_job(job))).collect())
}

/// The lease changes every few seconds and is nobody's business: what counts is what is told.
fn of_job(job: Job) -> Sight<Job> {
    let mut mark = DefaultHasher::new();
    (&job.state, job.progress_done, job.progress_total, job.attempt, &job.last_error).hash(&mut mark);
    (job.run_at, job.started_at, job.finished_at, job.cancel_requested_at).hash(&mut mark);
    job.result.as_ref().map(ToString::to_string).hash(&mut mark);
    let over = job.finished_at.is_some();
    Sight { item: Arc::new(job), mark: mark.finish(), over }
}

async fn look_at_campaigns(pool: PgPool, ids: Vec<Uuid>) -> shared::error::Result<Vec<(Uuid, Sight<Progress>)>> {
    let mut seen = Vec::with_capacity(ids.len());
    for id in ids {
        if let Some((_, progress)) = progress::counted(&pool, id).await? {
            seen.push((id, of_campaign(progress)));
        }
    }
    Ok(seen)
}

/// The rate changes by itself as time goes by: it is told, but it is no news.
fn of_campaign(progress: Progress) -> Sight<Progress> {
    let mut mark = DefaultHasher::new();
    let Progress { accepted, bounced, failed, suppressed, cancelled, unknown, deferred, pending, in_flight, complained, .. } =
        progress;
    (&progress.state, progress.audience, &progress.destinations).hash(&mut mark);
    (accepted, bounced, failed, suppressed, cancelled, unknown, deferred, pending, in_flight, complained).hash(&mut mark);
    let left = pending + deferred + in_flight;
    let over = matches!(progress.state.as_str(), "finished" | "finished_with_failures" | "cancelled") && left <= 0;
    Sight { item: Arc::new(progress), mark: mark.finish(), over }
}
