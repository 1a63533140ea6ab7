//! What a dead process left behind: rows that are `sending` under an epoch that is over. Nobody knows whether the server took them, so
//! marketing mail is never sent again by itself.

use sqlx::PgPool;
use uuid::Uuid;

use super::{chunk::Chunk, settled};
use crate::{error::Result, queue::claim::Lease};

/// Puts in doubt what earlier runs of this chunk left in flight. Answers how many.
///
/// # Errors
/// The database failed.
pub async fn earlier_runs(pool: &PgPool, chunk: &Chunk, lease: Lease) -> Result<u64> {
    let left: Vec<Uuid> = sqlx::query_scalar(
        "SELECT u.id FROM chunks c CROSS JOIN unnest(c.contact_ids) AS u (id) CROSS JOIN LATERAL (
             SELECT chunk_id, lease_epoch, state FROM deliveries WHERE campaign_id = $2 AND contact_id = u.id OFFSET 0) d
         WHERE c.id = $1 AND d.state = 'sending' AND d.chunk_id = $1 AND d.lease_epoch < $3",
    )
    .bind(chunk.id)
    .bind(chunk.campaign_id)
    .bind(lease.epoch)
    .fetch_all(pool)
    .await?;
    if left.is_empty() {
        return Ok(0);
    }
    let doubted = sqlx::query(
        "WITH o AS MATERIALIZED (SELECT $2::uuid AS campaign_id, u.id FROM unnest($4::uuid[]) AS u (id))
         UPDATE deliveries d SET state = 'unknown', reason = 'in doubt', updated_at = now()
         FROM o WHERE d.campaign_id = o.campaign_id AND d.contact_id = o.id
           AND d.state = 'sending' AND d.chunk_id = $1 AND d.lease_epoch < $3",
    )
    .bind(chunk.id)
    .bind(chunk.campaign_id)
    .bind(lease.epoch)
    .bind(left)
    .execute(pool)
    .await?
    .rows_affected();
    settled::count("unknown", doubted);
    Ok(doubted)
}

/// Puts in doubt what is in flight in a campaign though no run is left that could end it. Answers how many.
///
/// # Errors
/// The database failed.
pub async fn left_over(pool: &PgPool, campaign_id: Uuid, older_than_seconds: f64) -> Result<u64> {
    let doubted = sqlx::query(
        "UPDATE deliveries d SET state = 'unknown', reason = 'in doubt', updated_at = now()
         WHERE d.campaign_id = $1 AND d.state = 'sending' AND d.updated_at < now() - make_interval(secs => $2)
           AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = d.chunk_id AND j.state = 'running' AND j.lease_epoch = d.lease_epoch)",
    )
    .bind(campaign_id)
    .bind(older_than_seconds)
    .execute(pool)
    .await?
    .rows_affected();
    settled::count("unknown", doubted);
    Ok(doubted)
}
