//! What `/metrics` asks of the queue, at scrape time: one statement.

use sqlx::{FromRow, PgPool};

use crate::error::Result;

/// One lane, now.
#[derive(Clone, Debug, FromRow, PartialEq)]
pub struct LaneGauge {
    /// The lane.
    pub lane: String,
    /// In line and due.
    pub ready: i64,
    /// Seconds since the oldest of those became due.
    pub oldest_ready_seconds: f64,
    /// With a later date.
    pub scheduled: i64,
    /// Leased.
    pub running: i64,
    /// Waiting for a person.
    pub dead: i64,
}

/// Every lane that has jobs alive or dead.
///
/// # Errors
/// The database failed.
pub async fn lanes(pool: &PgPool) -> Result<Vec<LaneGauge>> {
    Ok(sqlx::query_as(
        "SELECT lane, count(*) FILTER (WHERE state = 'queued') AS ready,
                coalesce(extract(epoch FROM now() - min(run_at) FILTER (WHERE state = 'queued')), 0)::float8 AS oldest_ready_seconds,
                count(*) FILTER (WHERE state = 'scheduled') AS scheduled,
                count(*) FILTER (WHERE state = 'running') AS running,
                count(*) FILTER (WHERE state = 'dead') AS dead
         FROM jobs WHERE state IN ('queued', 'scheduled', 'running', 'dead') GROUP BY lane",
    )
    .fetch_all(pool)
    .await?)
}

/// Destinations that cool down, are suspended or are slowed, now.
///
/// # Errors
/// The database failed.
pub async fn throttled_destinations(pool: &PgPool) -> Result<i64> {
    Ok(sqlx::query_scalar(
        "SELECT count(*) FROM destinations WHERE cooldown_until > now() OR suspended_until > now() OR adaptive_rate IS NOT NULL",
    )
    .fetch_one(pool)
    .await?)
}
