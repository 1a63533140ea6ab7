//! The noun: a job, its states, how it is enqueued and asked for.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::payload::Job as Payload;
use crate::{
    error::{Error, Result},
    telemetry::traces,
};

/// A row of `jobs`.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0002_queue.sql")]
pub struct Job {
    pub id: Uuid,
    pub workspace_id: Option<Uuid>,
    pub kind: String,
    pub lane: String,
    pub flow: String,
    pub campaign_id: Option<Uuid>,
    pub destination: String,
    pub state: String,
    pub run_at: DateTime<Utc>,
    pub payload: Value,
    pub attempt: i32,
    pub max_attempts: i32,
    pub deliveries: i32,
    pub lease_epoch: i64,
    pub cancel_requested_at: Option<DateTime<Utc>>,
    pub progress_done: i64,
    pub progress_total: Option<i64>,
    pub result: Option<Value>,
    pub last_error: Option<String>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub trace: Option<String>,
}

/// How a job is enqueued; what is not said is the kind's default.
#[derive(Clone, Debug, Default)]
pub struct Enqueue {
    /// Whose job it is; absent: the house's.
    pub workspace_id: Option<Uuid>,
    /// What fairness turns on inside the workspace; empty: the kind.
    pub flow: String,
    /// The campaign whose pause holds the job back.
    pub campaign_id: Option<Uuid>,
    /// The one destination of a chunk; empty: mixed.
    pub destination: String,
    /// Higher runs first within its flow.
    pub priority: i16,
    /// Share of its flow that it takes; 0 counts as 1.
    pub cost: i32,
    /// Not before; absent: now. Compared with the database's clock.
    pub run_at: Option<DateTime<Utc>>,
    /// While a job of the kind with this key is alive, another one is not made.
    pub unique_key: Option<String>,
    /// The job that made this one.
    pub parent_id: Option<Uuid>,
    /// What progress counts to, if known.
    pub progress_total: Option<i64>,
}

/// Puts a job into the table, in the caller's transaction. After the commit the caller may ring (`ticket`); the bell does it anyway.
/// Answers the id: the new job's, or the one that is alive under the same unique key.
///
/// # Errors
/// The database failed, or the payload cannot be written as JSON.
pub async fn enqueue<P: Payload>(connection: &mut PgConnection, payload: &P, options: Enqueue) -> Result<Uuid> {
    let id = Uuid::now_v7();
    let payload = serde_json::to_value(payload).map_err(Error::internal)?;
    let flow = if options.flow.is_empty() { P::NAME.to_owned() } else { options.flow };
    let inserted: Option<Uuid> = sqlx::query_scalar(
        "INSERT INTO jobs (id, workspace_id, kind, lane, flow, campaign_id, destination, priority, cost, state, run_at, payload,
                           max_attempts, unique_key, parent_id, progress_total, trace)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, greatest($9, 1), CASE WHEN $10 > now() THEN 'scheduled' ELSE 'queued' END,
                 coalesce($10, now()), $11, $12, $13, $14, $15, $16)
         ON CONFLICT (kind, unique_key) WHERE unique_key IS NOT NULL AND state IN ('scheduled', 'queued', 'running')
         DO NOTHING RETURNING id",
    )
    .bind(id)
    .bind(options.workspace_id)
    .bind(P::NAME)
    .bind(P::LANE.name())
    .bind(flow)
    .bind(options.campaign_id)
    .bind(options.destination)
    .bind(options.priority)
    .bind(options.cost)
    .bind(options.run_at)
    .bind(payload)
    .bind(P::ATTEMPTS)
    .bind(&options.unique_key)
    .bind(options.parent_id)
    .bind(options.progress_total)
    .bind(traces::traceparent())
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(id) = inserted {
        return Ok(id);
    }
    let alive = sqlx::query_scalar(
        "SELECT id FROM jobs WHERE kind = $1 AND unique_key = $2 AND state IN ('scheduled', 'queued', 'running')",
    )
    .bind(P::NAME)
    .bind(&options.unique_key)
    .fetch_optional(connection)
    .await?;
    alive.ok_or_else(|| Error::Conflict(format!("a {} job has just ended; try again", P::NAME)))
}
