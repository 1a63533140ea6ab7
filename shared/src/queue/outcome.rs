//! How a run ends. Each is one conditional update that names the epoch; a run whose lease is lost changes nothing.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgPool;

use super::claim::Lease;
use crate::error::Result;

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Done; the value is the job's `result`.
    Succeeded(Value),
    /// Failed in a way that may pass: another attempt after a delay, or dead where there are none left.
    Retry {
        /// For people.
        error: String,
        /// Before the next attempt.
        delay_ms: i64,
    },
    /// Failed for good.
    Failed {
        /// For people.
        error: String,
    },
    /// Back in line until then; burns no attempt.
    Snoozed(DateTime<Utc>),
    /// Back in line at once: throttled, shutting down, turn over, or an infrastructure error; burns no attempt.
    Yielded {
        /// Before it is due again.
        delay_ms: i64,
        /// For people, where something was wrong.
        error: Option<String>,
    },
    /// Somebody asked for it.
    Cancelled,
}

/// Ends the run. False: the lease was lost and nothing was written.
///
/// # Errors
/// The database failed; ending it again is safe.
pub async fn end(pool: &PgPool, lease: Lease, outcome: &Outcome) -> Result<bool> {
    let (word, result, error, delay_ms, at) = match outcome {
        Outcome::Succeeded(result) => ("succeeded", Some(result), None, None, None),
        Outcome::Retry { error, delay_ms } => ("retried", None, Some(error.as_str()), Some(*delay_ms), None),
        Outcome::Failed { error } => ("failed", None, Some(error.as_str()), None, None),
        Outcome::Snoozed(at) => ("snoozed", None, None, None, Some(*at)),
        Outcome::Yielded { delay_ms, error } => ("snoozed", None, error.as_deref(), Some(*delay_ms), None),
        Outcome::Cancelled => ("cancelled", None, None, None, None),
    };
    let ended: Option<String> = sqlx::query_scalar(
        "WITH ended AS (
             UPDATE jobs SET
                 state = CASE
                     WHEN $3 IN ('succeeded', 'failed', 'cancelled') THEN $3
                     WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
                     WHEN $3 = 'retried' AND attempt + 1 >= max_attempts THEN 'dead'
                     WHEN coalesce($7, clock_timestamp() + $6 * interval '1 millisecond') > clock_timestamp() THEN 'scheduled'
                     ELSE 'queued' END,
                 run_at = CASE WHEN $3 IN ('retried', 'snoozed')
                     THEN coalesce($7, clock_timestamp() + $6 * interval '1 millisecond') ELSE run_at END,
                 attempt = attempt + CASE WHEN $3 IN ('retried', 'failed') THEN 1 ELSE 0 END,
                 deliveries = 0,
                 result = coalesce($4, result),
                 last_error = CASE WHEN $3 IN ('succeeded', 'snoozed') THEN $5 ELSE coalesce($5, last_error) END,
                 progress_done = CASE WHEN $3 = 'succeeded' THEN coalesce(progress_total, progress_done) ELSE progress_done END,
                 finished_at = CASE
                     WHEN $3 IN ('succeeded', 'failed', 'cancelled') OR cancel_requested_at IS NOT NULL
                         OR ($3 = 'retried' AND attempt + 1 >= max_attempts) THEN now() END,
                 lease_owner = NULL, lease_until = NULL, updated_at = now()
             WHERE id = $1 AND lease_epoch = $2 AND state = 'running'
             RETURNING id, state, lease_epoch)
         UPDATE job_attempts a SET outcome = CASE WHEN ended.state IN ('dead', 'cancelled') THEN ended.state ELSE $3 END,
                                   error = $5, updated_at = now()
         FROM ended WHERE a.job_id = ended.id AND a.lease_epoch = ended.lease_epoch
         RETURNING ended.state",
    )
    .bind(lease.job_id)
    .bind(lease.epoch)
    .bind(word)
    .bind(result)
    .bind(error)
    .bind(delay_ms)
    .bind(at)
    .fetch_optional(pool)
    .await?;
    Ok(ended.is_some())
}

/// Stores progress. Answers whether the run is still the job's, and whether somebody asked for its end. Progress never falls.
///
/// # Errors
/// The database failed.
pub async fn progress(pool: &PgPool, lease: Lease, done: i64, total: Option<i64>) -> Result<Option<bool>> {
    let cancel = sqlx::query_scalar(
        "UPDATE jobs SET deliveries = CASE WHEN $3 > progress_done THEN 0 ELSE deliveries END,
                         progress_done = greatest(progress_done, $3),
                         progress_total = coalesce($4, progress_total), updated_at = now()
         WHERE id = $1 AND lease_epoch = $2 AND state = 'running'
         RETURNING cancel_requested_at IS NOT NULL",
    )
    .bind(lease.job_id)
    .bind(lease.epoch)
    .bind(done)
    .bind(total)
    .fetch_optional(pool)
    .await?;
    Ok(cancel)
}
