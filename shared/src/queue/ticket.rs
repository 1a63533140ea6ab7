//! Tickets: the one file that pushes to Redis. A ticket says "this lane has work"; it carries nothing, or the id of a critical job as a
//! hint. Losing, doubling or forging one costs a claim that finds nothing.

use std::time::Duration;

use apalis_core::task::builder::TaskBuilder;
use apalis_redis::{Config, RedisTask, queries::push_tasks};
use uuid::Uuid;

use super::lane::Lane;
use crate::keyspace::Keyspace;

/// Why a ticket could not be pushed or counted.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    /// Redis failed.
    #[error("redis: {0}")]
    Redis(#[from] redis::RedisError),
    /// apalis-redis failed.
    #[error("apalis: {0}")]
    Apalis(#[from] apalis_redis::Error),
}

/// The tickets of all lanes.
#[derive(Clone)]
pub struct Tickets {
    keyspace: Keyspace,
}

/// How apalis-redis 1.0.0 is to be used: one ticket at a time, no LREM per task, no events, acknowledgements on, and a dead worker's
/// tickets back within half a minute.
#[must_use]
pub fn config(keyspace: &Keyspace, lane: Lane) -> Config {
    Config::default()
        .queue(keyspace.key(&format!("tickets:{lane}")))
        .batch_size(1)
        .lock_tasks(false)
        .emit_events(false)
        .persist_results(true)
        .idempotency_ttl(Some(Duration::from_secs(60)))
        .heartbeat_interval(Duration::from_secs(5))
        .missed_heartbeats(6)
}

impl Tickets {
    /// The tickets under this prefix.
    #[must_use]
    pub fn new(keyspace: Keyspace) -> Self {
        Self { keyspace }
    }

    /// Pushes `count` tickets. Every push of apalis-redis lands in its scheduled set, whose fetch breaks beyond some 8,000 due entries:
    /// callers keep a lane below the settings' `max_tickets`.
    ///
    /// # Errors
    /// Redis failed; the bell tries again.
    pub async fn ring(&self, lane: Lane, count: usize) -> Result<(), TicketError> {
        self.push(lane, (0..count).map(|_| Vec::new())).await
    }

    /// Pushes a ticket that names a job.
    ///
    /// # Errors
    /// Redis failed; the bell rings for the job anyway.
    pub async fn hint(&self, lane: Lane, job_id: Uuid) -> Result<(), TicketError> {
        self.push(lane, [job_id.as_bytes().to_vec()]).await
    }

    async fn push(&self, lane: Lane, payloads: impl IntoIterator<Item = Vec<u8>>) -> Result<(), TicketError> {
        let tasks: Vec<RedisTask> = payloads.into_iter().map(|payload| TaskBuilder::new(payload).build()).collect();
        let config = config(&self.keyspace, lane);
        for slice in tasks.chunks(500) {
            push_tasks(&mut self.keyspace.connection(), &config, slice).await?;
        }
        Ok(())
    }

    /// Tickets that nobody has taken yet.
    ///
    /// # Errors
    /// Redis failed.
    pub async fn waiting(&self, lane: Lane) -> Result<usize, TicketError> {
        let config = config(&self.keyspace, lane);
        let (active, scheduled): (usize, usize) = redis::pipe()
            .llen(config.active_jobs_list())
            .zcard(config.scheduled_jobs_set())
            .query_async(&mut self.keyspace.connection())
            .await?;
        Ok(active + scheduled)
    }

    /// Takes a worker of apalis out of its books. It does not do that itself, and would look for its tickets for half a minute.
    ///
    /// # Errors
    /// Redis failed; the books are swept after half a minute.
    pub async fn goodbye(&self, lane: Lane, worker: &str) -> Result<(), TicketError> {
        let config = config(&self.keyspace, lane);
        redis::pipe()
            .cmd("ZREM")
            .arg(config.workers_set())
            .arg(worker)
            .ignore()
            .cmd("UNLINK")
            .arg(format!("{}:{worker}", config.inflight_jobs_set()))
            .arg(format!("{}:metadata:{worker}", config.workers_set()))
            .ignore()
            .query_async::<()>(&mut self.keyspace.connection())
            .await?;
        Ok(())
    }

    /// Removes what apalis-redis never does: finished tickets with their data. Answers how many.
    ///
    /// # Errors
    /// Redis failed.
    pub async fn reap(&self, lane: Lane) -> Result<usize, TicketError> {
        let config = config(&self.keyspace, lane);
        let mut connection = self.keyspace.connection();
        let mut reaped = 0;
        for set in [config.done_jobs_set(), config.dead_jobs_set()] {
            loop {
                let ids: Vec<String> = redis::cmd("SPOP").arg(&set).arg(500).query_async(&mut connection).await?;
                if ids.is_empty() {
                    break;
                }
                let mut removal = redis::pipe();
                removal.cmd("HDEL").arg(config.job_data_hash()).arg(&ids).ignore();
                removal
                    .cmd("UNLINK")
                    .arg(ids.iter().map(|id| format!("{}:{id}", config.job_meta_hash())).collect::<Vec<_>>())
                    .ignore();
                removal.query_async::<()>(&mut connection).await?;
                reaped += ids.len();
            }
        }
        Ok(reaped)
    }
}
