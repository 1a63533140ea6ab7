//! Cancelling the rest of an audience: whoever has had no attempt on the wire becomes `cancelled`.

use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    database,
    deliveries::settled,
    error::Result,
    queue::claim::{self, Lease},
};

/// Stops the waiting jobs of a cancelled campaign, in a short transaction of its own: whoever claims meanwhile must not wait for the long
/// ones.
///
/// # Errors
/// The lease is lost, or the database failed.
pub async fn stop_jobs(pool: &PgPool, lease: Lease, campaign_id: Uuid) -> Result<u64> {
    let mut transaction = database::begin(pool).await?;
    claim::hold(&mut transaction, lease).await?;
    let stopped = sqlx::query(
        "UPDATE jobs SET state = 'cancelled', finished_at = now(), updated_at = now()
         WHERE campaign_id = $1 AND kind = 'SendChunk' AND state IN ('scheduled', 'queued')
           AND EXISTS (SELECT 1 FROM campaigns c WHERE c.id = $1 AND c.state = 'cancelled')",
    )
    .bind(campaign_id)
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    transaction.commit().await?;
    Ok(stopped)
}

/// Cancels the recipients of up to a hundred open chunks, with their waiting jobs, in one transaction, fenced. What is in flight ends by
/// itself. A recipient may be in several of them: one that was deferred comes round in another chunk while its first is open. Answers
/// how many chunks are left.
///
/// # Errors
/// The lease is lost, or the database failed.
pub async fn slice(pool: &PgPool, lease: Lease, campaign_id: Uuid) -> Result<i64> {
    let mut transaction = database::begin(pool).await?;
    claim::hold(&mut transaction, lease).await?;
    sqlx::query("UPDATE campaigns SET audience = coalesce(audience, launch_counted) WHERE id = $1 AND state = 'cancelled'")
        .bind(campaign_id)
        .execute(&mut *transaction)
        .await?;
    let cancelled: i64 = sqlx::query_scalar(
        "WITH open AS (
             SELECT c.* FROM chunks c JOIN campaigns campaign ON campaign.id = c.campaign_id AND campaign.state = 'cancelled'
             WHERE c.campaign_id = $1 AND c.finished_at IS NULL ORDER BY c.id LIMIT 100 FOR NO KEY UPDATE OF c),
         rows AS (
             INSERT INTO deliveries AS d (campaign_id, contact_id, chunk_id, lease_epoch, attempt_id, state, recipient, domain, reason)
             SELECT DISTINCT ON (u.id) $1, u.id, open.id, 0, 0, 'cancelled', coalesce(contact.email, ''), coalesce(contact.domain, ''), 'cancelled'
             FROM open CROSS JOIN unnest(open.contact_ids) AS u (id) LEFT JOIN contacts contact ON contact.id = u.id
             ORDER BY u.id, open.id
             ON CONFLICT (campaign_id, contact_id) DO UPDATE SET state = 'cancelled', reason = 'cancelled', next_attempt_at = NULL,
                 updated_at = now()
             WHERE d.state = 'deferred' RETURNING 1),
         stopped AS (
             UPDATE jobs j SET state = 'cancelled', finished_at = now(), updated_at = now()
             FROM open WHERE j.id = open.id AND j.state IN ('scheduled', 'queued')),
         closed AS (UPDATE chunks c SET finished_at = now(), updated_at = now() FROM open WHERE c.id = open.id)
         SELECT count(*) FROM rows",
    )
    .bind(campaign_id)
    .fetch_one(&mut *transaction)
    .await?;
    let left = sqlx::query_scalar("SELECT count(*) FROM chunks WHERE campaign_id = $1 AND finished_at IS NULL")
        .bind(campaign_id)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    settled::count("cancelled", cancelled.unsigned_abs());
    Ok(left)
}
