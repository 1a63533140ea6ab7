//! Finishing: a campaign is done when nobody is pending, deferred or in flight, and then it balances.
//!
//! `OFFSET 0` asks the ledger once a campaign, by its index of the deferred, instead of joining all of them.

use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    deliveries::{doubt, tally},
    error::Result,
};

/// Finishes every campaign that can be: `finished`, or `finished_with_failures` where anybody failed or is in doubt. Several may try at
/// once. Answers those that it finished.
///
/// # Errors
/// The database failed.
pub async fn all(pool: &PgPool, lease_seconds: u64) -> Result<Vec<Uuid>> {
    let candidates: Vec<Uuid> = sqlx::query_scalar(
        "SELECT c.id FROM campaigns c
         WHERE c.state = 'sending' AND c.audience IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM chunks k WHERE k.campaign_id = c.id AND k.finished_at IS NULL)
           AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.campaign_id = c.id AND d.next_attempt_at IS NOT NULL OFFSET 0)
           AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.campaign_id = c.id AND j.state IN ('scheduled', 'queued', 'running'))",
    )
    .fetch_all(pool)
    .await?;
    let mut finished = Vec::new();
    for id in candidates {
        if one(pool, id, lease_seconds).await? {
            finished.push(id);
        }
    }
    Ok(finished)
}

/// Puts in doubt what a worker that died had in flight in a campaign that was cancelled meanwhile: no run will come for it.
///
/// # Errors
/// The database failed.
pub async fn settle_cancelled(pool: &PgPool, lease_seconds: u64) -> Result<()> {
    let cancelled: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM campaigns WHERE state = 'cancelled' AND updated_at BETWEEN now() - interval '1 hour' AND now() - make_interval(secs => $1)",
    )
    .bind(seconds(lease_seconds))
    .fetch_all(pool)
    .await?;
    for id in cancelled {
        if tally::count(pool, id).await?.in_flight > 0 {
            doubt::left_over(pool, id, seconds(lease_seconds)).await?;
        }
    }
    Ok(())
}

fn seconds(lease_seconds: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a lease is seconds")]
    let seconds = lease_seconds as f64;
    seconds
}

async fn one(pool: &PgPool, id: Uuid, lease_seconds: u64) -> Result<bool> {
    let tally = tally::count(pool, id).await?;
    if tally.in_flight > 0 {
        doubt::left_over(pool, id, seconds(lease_seconds)).await?;
        return Ok(false);
    }
    if tally.pending != 0 || tally.deferred != 0 {
        tracing::error!(campaign.id = %id, pending = tally.pending, deferred = tally.deferred, "a campaign without open chunks does not balance");
        return Ok(false);
    }
    let state = if tally.failed > 0 || tally.unknown > 0 { "finished_with_failures" } else { "finished" };
    let finished = sqlx::query(
        "UPDATE campaigns c SET state = $2, finished_at = now(), updated_at = now()
         WHERE id = $1 AND state = 'sending' AND audience = $3
           AND NOT EXISTS (SELECT 1 FROM chunks k WHERE k.campaign_id = c.id AND k.finished_at IS NULL)
           AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.campaign_id = c.id AND d.next_attempt_at IS NOT NULL OFFSET 0)
           AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.campaign_id = c.id AND j.state IN ('scheduled', 'queued', 'running'))",
    )
    .bind(id)
    .bind(state)
    .bind(tally.sum())
    .execute(pool)
    .await?
    .rows_affected();
    Ok(finished == 1)
}
