//! Deferred recipients come round again: those that are due are put into new chunks, by destination.
//!
//! `OFFSET 0` keeps the question of each campaign to one look into the index of the due: as a join it reads every deferred row of the
//! ledger, 1.5 s a second with 300,000 of them.

use std::collections::BTreeMap;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{payload::SendChunk, settled};
use crate::{database, error::Result, queue::payload::Job, settings::Sending};

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
    // A fact that came while its campaign was being finished.
    sqlx::query(
        "UPDATE campaigns c SET state = 'sending', finished_at = NULL, updated_at = now()
         WHERE c.state IN ('finished', 'finished_with_failures') AND c.finished_at > now() - interval '10 minutes'
           AND EXISTS (SELECT 1 FROM deliveries d WHERE d.campaign_id = c.id AND d.next_attempt_at IS NOT NULL OFFSET 0)",
    )
    .execute(pool)
    .await?;
    let campaigns: Vec<(Uuid, bool)> = sqlx::query_as(
        "SELECT c.id, c.state = 'cancelled' FROM campaigns c
         WHERE c.state IN ('sending', 'cancelled')
           AND EXISTS (SELECT 1 FROM deliveries d WHERE d.campaign_id = c.id
                       AND d.next_attempt_at <= CASE c.state WHEN 'cancelled' THEN 'infinity' ELSE now() END OFFSET 0)",
    )
    .fetch_all(pool)
    .await?;
    for (campaign_id, cancelled) in campaigns {
        if cancelled {
            let ended = cancel(pool, campaign_id).await?;
            settled::count("cancelled", ended);
            swept.cancelled += ended;
        } else {
            let ended = expire(pool, campaign_id, settings.retry.expire_seconds).await?;
            settled::count("failed", ended);
            swept.expired += ended;
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
    let mut transaction = database::begin(pool).await?;
    // Held until the commit: a cancellation that comes now waits, and then finds the new chunks.
    let sending: Option<i32> = sqlx::query_scalar("SELECT 1 FROM campaigns WHERE id = $1 AND state = 'sending' FOR SHARE")
        .bind(campaign_id)
        .fetch_optional(&mut *transaction)
        .await?;
    if sending.is_none() {
        return Ok(0);
    }
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
    pool_the_long_tail(&mut transaction, &mut destinations, settings).await?;
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

/// As at the launch: a destination with few recipients and no limits shares mixed chunks, so that fifty thousand domains are not as many
/// jobs.
async fn pool_the_long_tail(
    connection: &mut PgConnection,
    destinations: &mut BTreeMap<String, Vec<Uuid>>,
    settings: &Sending,
) -> Result<()> {
    let few = |contacts: &Vec<Uuid>| i64::try_from(contacts.len()).unwrap_or(i64::MAX) < settings.single_destination_from;
    let small: Vec<&str> = destinations.iter().filter(|(_, contacts)| few(contacts)).map(|(domain, _)| domain.as_str()).collect();
    let limited: Vec<String> =
        sqlx::query_scalar("SELECT domain FROM destinations WHERE domain = ANY ($1) AND is_limited(destinations)")
            .bind(small)
            .fetch_all(connection)
            .await?;
    let mut mixed = Vec::new();
    destinations.retain(|domain, contacts| {
        let own = !few(contacts) || limited.contains(domain);
        if !own {
            mixed.append(contacts);
        }
        own
    });
    if !mixed.is_empty() {
        destinations.insert(String::new(), mixed);
    }
    Ok(())
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
        "WITH o AS MATERIALIZED (SELECT $2::uuid AS campaign_id, u.id FROM unnest($3::uuid[]) AS u (id))
         UPDATE deliveries d SET chunk_id = $1, next_attempt_at = NULL, updated_at = now()
         FROM o WHERE d.campaign_id = o.campaign_id AND d.contact_id = o.id AND d.state = 'deferred'",
    )
    .bind(id)
    .bind(campaign_id)
    .bind(contact_ids)
    .execute(connection)
    .await?;
    Ok(())
}
