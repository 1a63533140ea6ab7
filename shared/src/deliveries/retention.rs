//! The end of old rows of the ledger. What is removed is added to the campaign's tally in the same transaction, so that a campaign's
//! figures are the same before, in the middle and after.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{database, error::Result};

/// Rows of one transaction: some tens of milliseconds.
const SLICE: i64 = 5_000;
/// Campaigns that one sweep takes on.
const MOST_CAMPAIGNS: i64 = 50;

/// Removes the rows of campaigns that ended before `before`, and their chunks. Several may remove at once. Answers how many rows.
///
/// # Errors
/// The database failed; what is removed stays removed and counted.
pub async fn remove(pool: &PgPool, before: DateTime<Utc>) -> Result<u64> {
    let over: Vec<Uuid> = sqlx::query_scalar(
        "SELECT c.id FROM campaigns c LEFT JOIN delivery_tallies t ON t.campaign_id = c.id
         WHERE c.state IN ('finished', 'finished_with_failures', 'cancelled') AND c.finished_at < $1 AND t.done_at IS NULL
         ORDER BY c.finished_at LIMIT $2",
    )
    .bind(before)
    .bind(MOST_CAMPAIGNS)
    .fetch_all(pool)
    .await?;
    let mut removed = 0;
    for id in over {
        loop {
            let slice = slice(pool, id, before).await?;
            removed += slice.unwrap_or(0);
            if slice.is_none_or(|rows| rows < SLICE.unsigned_abs()) {
                break;
            }
        }
    }
    Ok(removed)
}

/// A slice of a campaign; `None`: it is no longer over, or somebody else removes it. The campaign is held meanwhile, so that a late fact
/// cannot open it again between the count and the removal.
async fn slice(pool: &PgPool, campaign_id: Uuid, before: DateTime<Utc>) -> Result<Option<u64>> {
    let mut transaction = database::begin(pool).await?;
    let held: Option<i32> = sqlx::query_scalar(
        "SELECT 1 FROM campaigns WHERE id = $1 AND state IN ('finished', 'finished_with_failures', 'cancelled') AND finished_at < $2
         FOR NO KEY UPDATE SKIP LOCKED",
    )
    .bind(campaign_id)
    .bind(before)
    .fetch_optional(&mut *transaction)
    .await?;
    if held.is_none() {
        return Ok(None);
    }
    let removed: i64 = sqlx::query_scalar(
        "WITH old AS MATERIALIZED (
             SELECT contact_id FROM deliveries WHERE campaign_id = $1 AND state NOT IN ('sending', 'deferred')
             ORDER BY contact_id LIMIT $2 FOR UPDATE SKIP LOCKED),
         gone AS (
             DELETE FROM deliveries d USING old WHERE d.campaign_id = $1 AND d.contact_id = old.contact_id RETURNING d.state),
         counted AS (
             INSERT INTO delivery_tallies AS t (campaign_id, accepted, bounced, failed, suppressed, cancelled, unknown)
             SELECT $1, count(*) FILTER (WHERE state = 'accepted'), count(*) FILTER (WHERE state = 'bounced'),
                    count(*) FILTER (WHERE state = 'failed'), count(*) FILTER (WHERE state = 'suppressed'),
                    count(*) FILTER (WHERE state = 'cancelled'), count(*) FILTER (WHERE state = 'unknown') FROM gone
             ON CONFLICT (campaign_id) DO UPDATE SET accepted = t.accepted + excluded.accepted, bounced = t.bounced + excluded.bounced,
                 failed = t.failed + excluded.failed, suppressed = t.suppressed + excluded.suppressed,
                 cancelled = t.cancelled + excluded.cancelled, unknown = t.unknown + excluded.unknown, updated_at = now())
         SELECT count(*) FROM gone",
    )
    .bind(campaign_id)
    .bind(SLICE)
    .fetch_one(&mut *transaction)
    .await?;
    if removed < SLICE {
        sqlx::query("DELETE FROM chunks WHERE campaign_id = $1 AND finished_at IS NOT NULL")
            .bind(campaign_id)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "UPDATE delivery_tallies SET done_at = now(), updated_at = now()
             WHERE campaign_id = $1 AND NOT EXISTS (SELECT 1 FROM deliveries WHERE campaign_id = $1)",
        )
        .bind(campaign_id)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(Some(removed.unsigned_abs()))
}
