//! Deferred recipients come round again: those that are due are put into new chunks, by destination.

use std::collections::BTreeMap;

use sqlx::{PgConnection, PgPool};
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

/// One transaction a campaign: the due are locked, put into chunks by destination, and leave the index of the due.
async fn gather(pool: &PgPool, campaign_id: Uuid, settings: &Sending) -> Result<u64> {
    let mut transaction = pool.begin().await?;
    let due: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT contact_id, domain FROM deliveries WHERE campaign_id = $1 AND next_attempt_at <= now() AND state = 'deferred'
         ORDER BY next_attempt_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED",
    )
    .bind(campaign_id)
    .bind(settings.launch_slice)
    .fetch_all(&mut *transaction)
    .await?;
    let gathered = due.len() as u64;
    let mut destinations: BTreeMap<String, Vec<Uuid>> = BTreeMap::new();
    for (contact_id, domain) in due {
        destinations.entry(domain).or_default().push(contact_id);
    }
    let most = usize::try_from(settings.chunk_recipients).unwrap_or(500).max(1);
    for (domain, mut contacts) in destinations {
        contacts.sort_unstable();
        for contact_ids in contacts.chunks(most) {
            carry(&mut transaction, campaign_id, &domain, contact_ids).await?;
        }
    }
    transaction.commit().await?;
    Ok(gathered)
}

/// A chunk of these recipients, its job, and their rows pointing at it.
async fn carry(connection: &mut PgConnection, campaign_id: Uuid, domain: &str, contact_ids: &[Uuid]) -> Result<()> {
    let id = Uuid::now_v7();
    sqlx::query("INSERT INTO chunks (id, campaign_id, destination, contact_ids) VALUES ($1, $2, $3, $4)")
        .bind(id)
        .bind(campaign_id)
        .bind(domain)
        .bind(contact_ids)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO jobs (id, workspace_id, kind, lane, flow, campaign_id, destination, cost, state, payload, max_attempts, progress_total)
         SELECT $1, c.workspace_id, $3, $4, 'campaign ' || c.id, c.id, $5, $6, 'queued', jsonb_build_object('chunk_id', $1), $7, $6
         FROM campaigns c WHERE c.id = $2",
    )
    .bind(id)
    .bind(campaign_id)
    .bind(SendChunk::NAME)
    .bind(SendChunk::LANE.name())
    .bind(domain)
    .bind(i32::try_from(contact_ids.len()).unwrap_or(i32::MAX))
    .bind(SendChunk::ATTEMPTS)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE deliveries SET chunk_id = $1, next_attempt_at = NULL, updated_at = now()
         WHERE campaign_id = $2 AND contact_id = ANY ($3) AND next_attempt_at <= now() AND state = 'deferred'",
    )
    .bind(id)
    .bind(campaign_id)
    .bind(contact_ids)
    .execute(connection)
    .await?;
    Ok(())
}
