//! The noun: a chunk, about 500 recipients of a campaign, carried by the job of the same id.
//!
//! `OFFSET 0` fences the look-up of a ledger row: a campaign that is being sent is younger than the ledger's statistics, the planner takes
//! it for a row or two, and would read all of it once for each recipient of the chunk.

use serde_json::Value;
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use super::settled;
use crate::{
    database,
    error::{Error, Result},
};

/// A chunk.
#[derive(Clone, Debug, FromRow)]
pub struct Chunk {
    /// Its id, and its job's.
    pub id: Uuid,
    /// The campaign.
    pub campaign_id: Uuid,
    /// The one destination, or empty.
    pub destination: String,
    /// Recipients in it.
    pub size: i32,
    /// All of them have an outcome or a later date.
    pub finished: bool,
}

/// A recipient of a chunk that waits for its turn.
#[derive(Clone, Debug, FromRow)]
pub struct Recipient {
    /// The contact.
    pub contact_id: Uuid,
    /// The address.
    pub email: String,
    /// Its domain.
    pub domain: String,
    /// The name, or empty.
    pub name: String,
    /// A JSON object.
    pub attributes: Value,
}

/// The chunk.
///
/// # Errors
/// [`Error::NotFound`], or the database failed.
pub async fn find(pool: &PgPool, id: Uuid) -> Result<Chunk> {
    sqlx::query_as(
        "SELECT id, campaign_id, destination, cardinality(contact_ids) AS size, finished_at IS NOT NULL AS finished FROM chunks WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(pool)
    .await?
    .ok_or_else(|| Error::not_found("chunk", id))
}

/// Recipients that wait for their turn: without a row, or deferred into this chunk. Those whose contact is gone are suppressed here.
///
/// # Errors
/// The database failed.
pub async fn waiting(connection: &mut PgConnection, chunk: &Chunk, lease_epoch: i64) -> Result<Vec<Recipient>> {
    let waiting: Vec<Recipient> = sqlx::query_as(
        "SELECT u.id AS contact_id, coalesce(contact.email, '') AS email, coalesce(contact.domain, '') AS domain,
                coalesce(contact.name, '') AS name, coalesce(contact.attributes, '{}') AS attributes
         FROM chunks c CROSS JOIN unnest(c.contact_ids) AS u (id)
         LEFT JOIN LATERAL (SELECT email, domain, name, attributes FROM contacts WHERE id = u.id OFFSET 0) contact ON true
         LEFT JOIN LATERAL (
             SELECT chunk_id, state, next_attempt_at FROM deliveries
             WHERE campaign_id = $2 AND contact_id = u.id OFFSET 0) d ON true
         WHERE c.id = $1
           AND (d.chunk_id IS NULL OR (d.state = 'deferred' AND d.chunk_id = $1 AND d.next_attempt_at IS NULL))",
    )
    .bind(chunk.id)
    .bind(chunk.campaign_id)
    .fetch_all(&mut *connection)
    .await?;
    // A contact has an address, so without one there is no contact any more.
    let (gone, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|recipient| recipient.email.is_empty());
    if !gone.is_empty() {
        suppress_deleted(connection, chunk, lease_epoch, gone.iter().map(|recipient| recipient.contact_id).collect()).await?;
    }
    Ok(waiting)
}

async fn suppress_deleted(connection: &mut PgConnection, chunk: &Chunk, lease_epoch: i64, contact_ids: Vec<Uuid>) -> Result<()> {
    let suppressed = sqlx::query(
        "INSERT INTO deliveries AS d (campaign_id, contact_id, chunk_id, lease_epoch, attempt_id, state, recipient, domain, reason)
         SELECT $1, u.id, $2, $3, 0, 'suppressed', '', '', 'deleted' FROM unnest($4::uuid[]) AS u (id) ORDER BY u.id
         ON CONFLICT (campaign_id, contact_id) DO UPDATE SET state = 'suppressed', reason = 'deleted', updated_at = now()
         WHERE d.state = 'deferred' AND d.chunk_id = excluded.chunk_id AND d.next_attempt_at IS NULL",
    )
    .bind(chunk.campaign_id)
    .bind(chunk.id)
    .bind(lease_epoch)
    .bind(contact_ids)
    .execute(connection)
    .await?;
    settled::count("suppressed", suppressed.rows_affected());
    Ok(())
}

/// Finishes the chunk if nobody in it waits or is in flight: as many rows with an outcome or a later date as it has recipients. Answers
/// whether it is finished.
///
/// # Errors
/// The database failed.
pub async fn finish(pool: &PgPool, chunk: &Chunk) -> Result<bool> {
    let finished = sqlx::query(
        "UPDATE chunks c SET finished_at = coalesce(finished_at, now()), updated_at = now()
         WHERE c.id = $1 AND cardinality(c.contact_ids) = (
             SELECT count(*) FROM unnest(c.contact_ids) AS u (id) CROSS JOIN LATERAL (
                 SELECT chunk_id, state, next_attempt_at FROM deliveries
                 WHERE campaign_id = $2 AND contact_id = u.id OFFSET 0) d
             WHERE NOT (d.chunk_id = c.id AND (d.state = 'sending' OR (d.state = 'deferred' AND d.next_attempt_at IS NULL))))",
    )
    .bind(chunk.id)
    .bind(chunk.campaign_id)
    .execute(pool)
    .await?
    .rows_affected();
    Ok(finished == 1)
}

/// Settles chunks that no job will ever carry again, because it is dead, failed, cancelled or gone: whoever waits in them becomes
/// failed `internal`, or cancelled where a person cancelled the job, and what was in flight is in doubt. A person can retry the failed.
/// Answers how many chunks.
///
/// # Errors
/// The database failed.
pub async fn settle_orphans(pool: &PgPool) -> Result<u64> {
    let mut transaction = database::begin(pool).await?;
    let orphans: Vec<(Uuid, Uuid, bool)> = sqlx::query_as(
        "SELECT c.id, c.campaign_id, coalesce(j.state = 'cancelled', false) FROM chunks c
         LEFT JOIN jobs j ON j.id = c.id
         JOIN campaigns campaign ON campaign.id = c.campaign_id AND campaign.state IN ('sending', 'paused')
         WHERE c.finished_at IS NULL AND (j.id IS NULL OR j.state IN ('dead', 'failed', 'cancelled', 'succeeded'))
         ORDER BY c.id LIMIT 100 FOR NO KEY UPDATE OF c SKIP LOCKED",
    )
    .fetch_all(&mut *transaction)
    .await?;
    let mut ended = Vec::new();
    for (chunk_id, campaign_id, cancelled) in &orphans {
        let (state, reason) = if *cancelled { ("cancelled", "cancelled") } else { ("failed", "internal") };
        let states: Vec<String> = sqlx::query_scalar(
            "INSERT INTO deliveries AS d (campaign_id, contact_id, chunk_id, lease_epoch, attempt_id, state, recipient, domain, reason)
             SELECT $2, u.id, c.id, 0, 0, $3, coalesce(contact.email, ''), coalesce(contact.domain, ''), $4
             FROM chunks c CROSS JOIN unnest(c.contact_ids) AS u (id) LEFT JOIN contacts contact ON contact.id = u.id
             WHERE c.id = $1 ORDER BY u.id
             ON CONFLICT (campaign_id, contact_id) DO UPDATE SET
                 state = CASE WHEN d.state = 'sending' THEN 'unknown' ELSE excluded.state END,
                 reason = CASE WHEN d.state = 'sending' THEN 'in doubt' ELSE excluded.reason END, updated_at = now()
             WHERE d.chunk_id = excluded.chunk_id AND (d.state = 'sending' OR (d.state = 'deferred' AND d.next_attempt_at IS NULL))
             RETURNING d.state",
        )
        .bind(chunk_id)
        .bind(campaign_id)
        .bind(state)
        .bind(reason)
        .fetch_all(&mut *transaction)
        .await?;
        let doubted = states.iter().filter(|state| *state == "unknown").count() as u64;
        ended.push(("unknown", doubted));
        ended.push((state, states.len() as u64 - doubted));
        sqlx::query("UPDATE chunks SET finished_at = now(), updated_at = now() WHERE id = $1")
            .bind(chunk_id)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    ended.into_iter().for_each(|(state, recipients)| settled::count(state, recipients));
    Ok(orphans.len() as u64)
}
