//! Finished jobs and their attempts are kept for a while, for polling and for people, and then removed.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::error::Result;

/// Rows of one statement.
const SLICE: u64 = 1_000;

/// Removes jobs that finished before `before`, in slices; the dead stay until a person decides, and chunks that are open keep theirs.
/// Answers how many.
///
/// # Errors
/// The database failed; what is removed stays removed.
pub async fn finished(pool: &PgPool, before: DateTime<Utc>) -> Result<u64> {
    slices(
        pool,
        "DELETE FROM jobs WHERE id IN (
             SELECT j.id FROM jobs j WHERE j.finished_at < $1 AND j.state <> 'dead'
               AND NOT EXISTS (SELECT 1 FROM chunks c WHERE c.id = j.id AND c.finished_at IS NULL)
             LIMIT $2 FOR UPDATE SKIP LOCKED)",
        before,
    )
    .await
}

/// Removes attempts that began before `before` and are over. Answers how many.
///
/// # Errors
/// The database failed; what is removed stays removed.
pub async fn attempts(pool: &PgPool, before: DateTime<Utc>) -> Result<u64> {
    slices(
        pool,
        "DELETE FROM job_attempts WHERE (job_id, lease_epoch) IN (
             SELECT job_id, lease_epoch FROM job_attempts WHERE created_at < $1 AND outcome IS NOT NULL
             ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
        before,
    )
    .await
}

async fn slices(pool: &PgPool, statement: &'static str, before: DateTime<Utc>) -> Result<u64> {
    let mut removed = 0;
    loop {
        let most = i64::try_from(SLICE).unwrap_or(i64::MAX);
        let slice = sqlx::query(statement).bind(before).bind(most).execute(pool).await?.rows_affected();
        removed += slice;
        if slice < SLICE {
            return Ok(removed);
        }
    }
}
