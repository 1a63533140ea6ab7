//! Who is alive, and how much they can carry.

use std::collections::HashMap;

use sqlx::PgPool;
use uuid::Uuid;

use super::lane::Lane;
use crate::error::Result;

/// Says that a worker process is alive, with the jobs that it runs at once by lane.
///
/// # Errors
/// The database failed.
pub async fn seen(pool: &PgPool, id: Uuid, host: &str, pid: u32, slots: &HashMap<Lane, usize>) -> Result<()> {
    let slots: serde_json::Map<String, serde_json::Value> =
        slots.iter().map(|(lane, slots)| (lane.name().to_owned(), (*slots).into())).collect();
    sqlx::query(
        "INSERT INTO workers (id, host, pid, slots) VALUES ($1, $2, $3, $4)
         ON CONFLICT (id) DO UPDATE SET seen_at = now(), slots = excluded.slots, updated_at = now()",
    )
    .bind(id)
    .bind(host)
    .bind(i32::try_from(pid).unwrap_or(i32::MAX))
    .bind(serde_json::Value::Object(slots))
    .execute(pool)
    .await?;
    Ok(())
}

/// Says that a worker process ends.
///
/// # Errors
/// The database failed.
pub async fn left(pool: &PgPool, id: Uuid) -> Result<()> {
    sqlx::query("DELETE FROM workers WHERE id = $1").bind(id).execute(pool).await?;
    Ok(())
}

/// Jobs that the live workers run at once in a lane. Live: seen within three heartbeats.
///
/// # Errors
/// The database failed.
pub async fn slots(pool: &PgPool, lane: Lane, heartbeat_seconds: u64) -> Result<i64> {
    let slots = sqlx::query_scalar(
        "SELECT coalesce(sum((slots ->> $1)::bigint), 0)::bigint FROM workers
         WHERE seen_at > now() - make_interval(secs => $2) * 3",
    )
    .bind(lane.name())
    .bind(super::claim::seconds(heartbeat_seconds))
    .fetch_one(pool)
    .await?;
    Ok(slots)
}

/// The live part of a lane's fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Processes that serve the lane.
    pub workers: i64,
    /// Jobs that they run at once.
    pub slots: i64,
}

/// What serves each lane, by its name, for whoever watches: seen within half a minute.
///
/// # Errors
/// The database failed.
pub async fn live(pool: &PgPool) -> Result<HashMap<String, Live>> {
    let lanes: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT lane, count(*), coalesce(sum(s.slots::bigint), 0)::bigint FROM workers w, jsonb_each_text(w.slots) AS s (lane, slots)
         WHERE w.seen_at > now() - interval '30 seconds' GROUP BY lane",
    )
    .fetch_all(pool)
    .await?;
    Ok(lanes.into_iter().map(|(lane, workers, slots)| (lane, Live { workers, slots })).collect())
}

/// Whether a live worker, seen within half a minute, was there at this time: milliseconds since 1970.
///
/// # Errors
/// The database failed.
pub async fn is_older(pool: &PgPool, at_ms: f64) -> Result<bool> {
    let there = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM workers WHERE seen_at > now() - interval '30 seconds' AND created_at < to_timestamp($1 / 1000))",
    )
    .bind(at_ms)
    .fetch_one(pool)
    .await?;
    Ok(there)
}

/// Forgets workers that were not seen for a day.
///
/// # Errors
/// The database failed.
pub async fn forget(pool: &PgPool) -> Result<u64> {
    Ok(sqlx::query("DELETE FROM workers WHERE seen_at < now() - interval '1 day'").execute(pool).await?.rows_affected())
}
