//! The bell: how much there is to do in a lane, and what has become due.

use sqlx::{PgConnection, PgPool};

use super::lane::Lane;
use crate::error::Result;

/// Puts scheduled jobs that are due in line. Answers how many.
///
/// # Errors
/// The database failed.
pub async fn promote(pool: &PgPool) -> Result<u64> {
    let promoted = sqlx::query(
        "UPDATE jobs SET state = 'queued', updated_at = now()
         WHERE id IN (SELECT id FROM jobs WHERE state = 'scheduled' AND run_at <= clock_timestamp()
                      ORDER BY run_at LIMIT 2000 FOR NO KEY UPDATE SKIP LOCKED)",
    )
    .execute(pool)
    .await?
    .rows_affected();
    Ok(promoted)
}

/// Makes jobs due that wait because of what their error begins with: the reason is gone. At most 2,000 at a time; the others come by
/// themselves.
///
/// # Errors
/// The database failed.
pub async fn bring_forward(connection: &mut PgConnection, lane: Lane, reason: &str) -> Result<u64> {
    let brought = sqlx::query(
        "UPDATE jobs SET run_at = clock_timestamp(), updated_at = now()
         WHERE id IN (SELECT id FROM jobs WHERE state = 'scheduled' AND run_at > clock_timestamp() AND lane = $1
                        AND starts_with(last_error, $2)
                      ORDER BY run_at LIMIT 2000 FOR NO KEY UPDATE SKIP LOCKED)",
    )
    .bind(lane.name())
    .bind(reason)
    .execute(connection)
    .await?
    .rows_affected();
    Ok(brought)
}

/// Jobs of the lane that a claim would give out now, counted up to `limit`: those of paused campaigns, cooling destinations,
/// destinations at their cap and what an operator holds back do not count, so that nobody is rung for them.
///
/// # Errors
/// The database failed.
pub async fn claimable(pool: &PgPool, lane: Lane, destination_cap: i32, limit: i64) -> Result<i64> {
    let count: i64 = sqlx::query_scalar(
        "WITH RECURSIVE hold AS MATERIALIZED (SELECT sending_hold() AS name),
         pairs AS (
             (SELECT flow, destination FROM jobs WHERE lane = $1 AND state = 'queued' ORDER BY flow, destination LIMIT 1)
             UNION ALL
             SELECT next.flow, next.destination FROM pairs CROSS JOIN LATERAL (
                 SELECT j.flow, j.destination FROM jobs j
                 WHERE j.lane = $1 AND j.state = 'queued' AND (j.flow, j.destination) > (pairs.flow, pairs.destination)
                 ORDER BY j.flow, j.destination LIMIT 1) next)
         SELECT coalesce(sum(ready.n), 0)::bigint FROM hold CROSS JOIN pairs
         LEFT JOIN destinations d ON d.domain = pairs.destination
         CROSS JOIN LATERAL (
             SELECT count(*) AS n FROM (
                 SELECT 1 FROM jobs j LEFT JOIN campaigns c ON c.id = j.campaign_id
                 WHERE j.lane = $1 AND j.state = 'queued' AND j.flow = pairs.flow AND j.destination = pairs.destination
                   AND c.state IS DISTINCT FROM 'paused' AND NOT job_is_held(hold.name, j.lane, j.kind)
                 LIMIT CASE WHEN pairs.destination = '' THEN $3 ELSE greatest(0, $2 - (
                     SELECT count(*) FROM jobs r
                     WHERE r.state = 'running' AND r.lane = $1 AND r.destination = pairs.destination)) END) j) ready
         WHERE coalesce(greatest(d.cooldown_until, d.suspended_until), '-infinity') <= now()",
    )
    .bind(lane.name())
    .bind(destination_cap)
    .bind(limit)
    .fetch_one(pool)
    .await?;
    Ok(count.min(limit))
}
