//! Deferred recipients come round again: those that are due are put into new chunks, by destination.

use sqlx::PgPool;
use uuid::Uuid;

use super::payload::SendChunk;
use crate::{error::Result, queue::payload::Job, settings::Sending};

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Recipients that are in new chunks.
    pub due: u64,
    /// Recipients whose time is over.
    pub expired: u64,
    /// Recipients of cancelled campaigns.
    pub cancelled: u64,
}

/// Sweeps every campaign that is sending, and what cancelled ones left. Several may sweep at once: rows are skipped while another sweep
/// holds them.
///
/// # Errors
/// The database failed; what is committed stays.
pub async fn deferred(pool: &PgPool, settings: &Sending) -> Result<Swept> {
    let mut swept = Swept::default();
    let campaigns: Vec<(Uuid, bool)> = sqlx::query_as(
        "SELECT c.id, c.state = 'cancelled' FROM campaigns c
         WHERE c.state IN ('sending', 'cancelled')
           AND EXISTS (SELECT 1 FROM deliveries d WHERE d.campaign_id = c.id AND d.next_attempt_at IS NOT NULL
                       AND (d.next_attempt_at <= now() OR c.state = 'cancelled'))",
    )
    .fetch_all(pool)
    .await?;
    for (campaign_id, cancelled) in campaigns {
        if cancelled {
            swept.cancelled += cancel(pool, campaign_id).await?;
        } else {
            swept.expired += expire(pool, campaign_id, settings.retry.expire_seconds).await?;
            swept.due += gather(pool, campaign_id, settings).await?;
        }
    }
    Ok(swept)
}

async fn cancel(pool: &PgPool, campaign_id: Uuid) -> Result<u64> {
    Ok(sqlx::query(
        "UPDATE deliveries SET state = 'cancelled', reason = 'cancelled', next_attempt_at = NULL, updated_at = now()
         WHERE campaign_id = $1 AND next_attempt_at IS NOT NULL AND state = 'deferred'",
    )
    .bind(campaign_id)
    .execute(pool)
    .await?
    .rows_affected())
}

async fn expire(pool: &PgPool, campaign_id: Uuid, expire_seconds: f64) -> Result<u64> {
    Ok(sqlx::query(
        "UPDATE deliveries SET state = 'failed', reason = 'expired', next_attempt_at = NULL, updated_at = now()
         WHERE campaign_id = $1 AND next_attempt_at <= now() AND state = 'deferred'
           AND coalesce(first_attempt_at, created_at) < now() - make_interval(secs => $2)",
    )
    .bind(campaign_id)
    .bind(expire_seconds)
    .execute(pool)
    .await?
    .rows_affected())
}

async fn gather(pool: &PgPool, campaign_id: Uuid, settings: &Sending) -> Result<u64> {
    let gathered: i64 = sqlx::query_scalar(
        "WITH due AS (
             SELECT contact_id, domain FROM deliveries
             WHERE campaign_id = $1 AND next_attempt_at <= now() AND state = 'deferred'
             ORDER BY next_attempt_at LIMIT 20000 FOR NO KEY UPDATE SKIP LOCKED),
         placed AS (
             SELECT contact_id, domain, (row_number() OVER (PARTITION BY domain ORDER BY contact_id) - 1) / $2 AS part FROM due),
         parts AS MATERIALIZED (
             SELECT domain, part, uuid_v7() AS id, array_agg(contact_id ORDER BY contact_id) AS contact_ids
             FROM placed GROUP BY domain, part),
         made AS (
             INSERT INTO chunks (id, campaign_id, destination, contact_ids)
             SELECT id, $1, domain, contact_ids FROM parts),
         enqueued AS (
             INSERT INTO jobs (id, workspace_id, kind, lane, flow, campaign_id, destination, cost, state, payload, max_attempts,
                               progress_total)
             SELECT parts.id, c.workspace_id, $3, $4, 'campaign ' || c.id, c.id, parts.domain, cardinality(parts.contact_ids), 'queued',
                    jsonb_build_object('chunk_id', parts.id), $5, cardinality(parts.contact_ids)
             FROM parts CROSS JOIN campaigns c WHERE c.id = $1),
         moved AS (
             UPDATE deliveries d SET chunk_id = parts.id, next_attempt_at = NULL, updated_at = now()
             FROM placed JOIN parts ON parts.domain = placed.domain AND parts.part = placed.part
             WHERE d.campaign_id = $1 AND d.contact_id = placed.contact_id
             RETURNING 1)
         SELECT count(*) FROM moved",
    )
    .bind(campaign_id)
    .bind(settings.chunk_recipients)
    .bind(SendChunk::NAME)
    .bind(SendChunk::LANE.name())
    .bind(SendChunk::ATTEMPTS)
    .fetch_one(pool)
    .await?;
    Ok(u64::try_from(gathered).unwrap_or(0))
}
