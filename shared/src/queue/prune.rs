//! Finished jobs are kept for a while, for polling and for people, and then removed.

use sqlx::PgPool;

use crate::error::Result;

/// Removes jobs that finished more than so many days ago, in slices; the dead stay until a person decides, and chunks that are open keep
/// theirs. Answers how many.
///
/// # Errors
/// The database failed; what is removed stays removed.
pub async fn finished(pool: &PgPool, keep_days: i64) -> Result<u64> {
    let mut pruned = 0;
    loop {
        let slice = sqlx::query(
            "DELETE FROM jobs WHERE id IN (
                 SELECT j.id FROM jobs j WHERE j.finished_at < now() - make_interval(days => $1::int) AND j.state <> 'dead'
                   AND NOT EXISTS (SELECT 1 FROM chunks c WHERE c.id = j.id AND c.finished_at IS NULL)
                 LIMIT 1000 FOR UPDATE SKIP LOCKED)",
        )
        .bind(keep_days)
        .execute(pool)
        .await?
        .rows_affected();
        pruned += slice;
        if slice < 1000 {
            return Ok(pruned);
        }
    }
}
