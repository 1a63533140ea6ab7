//! Messages that are over are kept for a while, and then removed with their events.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::error::Result;

/// Rows of one statement.
const SLICE: i64 = 1_000;

/// Removes messages that were taken before `before` and are over, in slices. Answers how many.
///
/// # Errors
/// The database failed; what is removed stays removed.
pub async fn before(pool: &PgPool, before: DateTime<Utc>) -> Result<u64> {
    let mut removed = 0;
    loop {
        let slice = sqlx::query(
            "DELETE FROM messages WHERE id IN (
                 SELECT id FROM messages WHERE id < uuid_floor($1) AND state NOT IN ('queued', 'sending', 'deferred')
                 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)",
        )
        .bind(before)
        .bind(SLICE)
        .execute(pool)
        .await?
        .rows_affected();
        removed += slice;
        if slice < SLICE.unsigned_abs() {
            return Ok(removed);
        }
    }
}
