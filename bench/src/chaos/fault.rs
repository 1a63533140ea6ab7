//! The faults: what each does to a campaign that is under way.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use rustix::process::Signal;
use tokio::time::sleep;
use uuid::Uuid;

use super::{
    lab::{Lab, STOP},
    redis,
    watch::Watch,
};
use crate::client::api::Api;

/// What happens in the middle of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// `kill -9` of one worker; it comes back half a minute later.
    OneWorkerKilled,
    /// `kill -9` of all workers; they come back at once.
    AllWorkersKilled,
    /// `kill -9` of the api after `send` has committed, before its ticket can be in Redis.
    ApiKilled,
    /// `FLUSHALL`.
    RedisFlushed,
    /// Redis is stopped for 10 s and comes back empty.
    RedisStopped,
    /// PostgreSQL is restarted in fast mode.
    PostgresRestarted,
    /// PostgreSQL is restarted in immediate mode, which is a crash.
    PostgresCrashed,
    /// SIGSTOP of a worker for 26 s, longer than its lease of 20 s, then SIGCONT.
    WorkerFrozen,
    /// SIGTERM of a worker.
    WorkerTerminated,
    /// Pause, silence, resume.
    PausedAndResumed,
}

/// What a fault has done.
pub struct Struck {
    /// When it was over: from here on the campaign must go on.
    pub over: Instant,
    /// Connections that dead processes had open.
    pub dead_connections: u64,
    /// A worker that stays away for a while, and until when.
    pub away: Option<(usize, Instant)>,
    /// What was not as it must be.
    pub problems: Vec<String>,
    /// Anything else worth knowing.
    pub remarks: Vec<String>,
}

impl Struck {
    fn now() -> Self {
        Self { over: Instant::now(), dead_connections: 0, away: None, problems: Vec::new(), remarks: Vec::new() }
    }
}

const FROZEN: Duration = Duration::from_secs(26);
const REDIS_AWAY: Duration = Duration::from_secs(10);
const WORKER_AWAY: Duration = Duration::from_secs(30);
/// A server that is back may answer the first question of each pooled connection with an error.
const GRACE: Duration = Duration::from_secs(3);

impl Fault {
    /// As it is named on the command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Strikes, and returns when it is over.
    ///
    /// # Errors
    /// The part could not be broken or did not come back.
    pub async fn strike(self, lab: &mut Lab, api: &Api, campaign: Uuid, watch: &Watch) -> Result<Struck> {
        let mut struck = Struck::now();
        match self {
            Self::OneWorkerKilled => {
                struck.dead_connections = lab.open_connections(0).await;
                lab.take_worker(0)?.kill().await?;
                struck.away = Some((0, Instant::now() + WORKER_AWAY));
            }
            Self::AllWorkersKilled => {
                for worker in 0..lab.workers() {
                    struck.dead_connections += lab.open_connections(worker).await;
                }
                for worker in 0..lab.workers() {
                    lab.take_worker(worker)?.kill().await?;
                }
                struck.over = Instant::now();
                for worker in 0..lab.workers() {
                    lab.start_worker(worker).await?;
                }
                return Ok(struck);
            }
            Self::ApiKilled => kill_api_after_commit(lab, api, campaign, watch).await?,
            Self::RedisFlushed => redis::say(&lab.surroundings.redis_url, "FLUSHALL").await?,
            Self::RedisStopped => {
                lab.server(&["stop-redis"]).await?;
                sleep(REDIS_AWAY).await;
                // The api answers without Redis: nothing is excused.
                lab.server(&["start-redis"]).await?;
            }
            Self::PostgresRestarted | Self::PostgresCrashed => {
                watch.excuse(true);
                let mode = if self == Self::PostgresCrashed { "immediate" } else { "fast" };
                lab.server(&["restart-postgres", mode]).await?;
                struck.over = Instant::now();
                sleep(GRACE).await;
                watch.excuse(false);
                return Ok(struck);
            }
            Self::WorkerFrozen => {
                lab.worker(0)?.signal(Signal::STOP)?;
                sleep(FROZEN).await;
                lab.worker(0)?.signal(Signal::CONT)?;
            }
            Self::WorkerTerminated => {
                let asked = Instant::now();
                if let Err(error) = lab.take_worker(0)?.terminate(STOP).await {
                    struck.problems.push(format!("{error:#}"));
                }
                struck.remarks.push(format!("the worker ended {:.1} s after SIGTERM", asked.elapsed().as_secs_f64()));
                struck.over = Instant::now();
                lab.start_worker(0).await?;
                return Ok(struck);
            }
            Self::PausedAndResumed => {
                api.ask(campaign, "pause").await?;
                sleep(Duration::from_secs(5)).await;
                let before = lab.sink.stats().await?.received;
                sleep(Duration::from_secs(3)).await;
                let after = lab.sink.stats().await?.received;
                if after != before {
                    struck.problems.push(format!("{} messages arrived between 5 and 8 s after the pause", after - before));
                }
                let state = api.progress(campaign).await?.state;
                if state != "paused" {
                    struck.problems.push(format!("the campaign is {state}, not paused"));
                }
                api.ask(campaign, "resume").await?;
            }
        }
        struck.over = Instant::now();
        Ok(struck)
    }
}

/// Redis holds its breath, so that no ticket can get in; the campaign is sent; as soon as its row says so the api is killed.
async fn kill_api_after_commit(lab: &mut Lab, api: &Api, campaign: Uuid, watch: &Watch) -> Result<()> {
    let process = lab.take_api()?;
    redis::say(&lab.surroundings.redis_url, "CLIENT PAUSE 4000 ALL").await?;
    watch.excuse(true);
    let request = tokio::spawn({
        let api = api.clone();
        async move { api.ask(campaign, "send").await }
    });
    let question = format!("SELECT state FROM campaigns WHERE id = '{campaign}'");
    let begun = Instant::now();
    while lab.ask_database(&question).await? == "draft" {
        if begun.elapsed() > Duration::from_secs(20) {
            bail!("the campaign is still a draft 20 s after send");
        }
    }
    process.kill().await?;
    // Answered or cut off: the commit is what counts.
    let _ = request.await.context("the request's task failed")?;
    lab.start_api().await?;
    watch.excuse(false);
    Ok(())
}
