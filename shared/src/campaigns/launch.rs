//! Freezing the audience, slice by slice: distinct subscribed members who joined before the launch, into chunks.

use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    database,
    deliveries::payload::SendChunk,
    error::{Error, Result},
    queue::{
        claim::{self, Lease},
        payload::Job,
    },
    settings::Sending,
    telemetry::traces,
};

/// Where a launch stands after a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launch {
    /// More may follow; so many are in chunks.
    Counted(i64),
    /// The audience is frozen at so many.
    Frozen(i64),
    /// The campaign is paused: go on when it is sending again.
    Paused,
    /// The campaign is neither sending nor paused: nothing more to launch.
    Over,
}

/// Freezes the next slice: chunks, their jobs, the cursor and the count in one transaction, fenced. A domain with enough recipients in
/// the slice, or with a row among the destinations, gets chunks of its own; the long tail shares mixed ones.
///
/// # Errors
/// The lease is lost, or the database failed: nothing of the slice stays.
pub async fn slice(pool: &PgPool, lease: Lease, campaign_id: Uuid, settings: &Sending) -> Result<Launch> {
    let mut transaction = database::begin(pool).await?;
    claim::hold(&mut transaction, lease).await?;
    let row: Option<(String, Option<i64>)> =
        sqlx::query_as("SELECT state, audience FROM campaigns WHERE id = $1 FOR NO KEY UPDATE")
            .bind(campaign_id)
            .fetch_optional(&mut *transaction)
            .await?;
    match row {
        None => return Err(Error::not_found("campaign", campaign_id)),
        Some((_, Some(audience))) => return Ok(Launch::Frozen(audience)),
        Some((state, None)) if state == "paused" => return Ok(Launch::Paused),
        Some((state, None)) if state != "sending" => return Ok(Launch::Over),
        Some(_) => {}
    }
    let (counted, seen): (i64, i64) = sqlx::query_as(
        "WITH campaign AS (SELECT * FROM campaigns WHERE id = $1),
         slice AS MATERIALIZED (
             SELECT DISTINCT m.contact_id FROM campaign CROSS JOIN unnest(campaign.list_ids) AS l (id) CROSS JOIN LATERAL (
                 SELECT contact_id FROM list_members
                 WHERE list_id = l.id AND joined_at <= campaign.launched_at
                   AND (list_id, contact_id) > (l.id, coalesce(campaign.launch_cursor, '00000000-0000-0000-0000-000000000000'))
                 ORDER BY list_id, contact_id LIMIT $2) m
             ORDER BY m.contact_id LIMIT $2),
         people AS MATERIALIZED (
             SELECT contact.id, contact.domain FROM slice CROSS JOIN LATERAL (
                 SELECT id, domain FROM contacts WHERE id = slice.contact_id AND state = 'subscribed' OFFSET 0) contact),
         single AS MATERIALIZED (
             SELECT p.domain FROM people p GROUP BY p.domain
             HAVING count(*) >= $3 OR EXISTS (SELECT 1 FROM destinations d WHERE d.domain = p.domain AND is_limited(d))),
         placed AS (
             SELECT people.id, coalesce(single.domain, '') COLLATE \"C\" AS destination,
                    (row_number() OVER (PARTITION BY coalesce(single.domain, '') COLLATE \"C\" ORDER BY people.id) - 1) / $4 AS part
             FROM people LEFT JOIN single ON single.domain = people.domain),
         parts AS MATERIALIZED (
             SELECT uuid_v7() AS id, destination, array_agg(id ORDER BY id) AS contact_ids FROM placed GROUP BY destination, part),
         made AS (
             INSERT INTO chunks (id, campaign_id, destination, contact_ids) SELECT id, $1, destination, contact_ids FROM parts),
         enqueued AS (
             INSERT INTO jobs (id, workspace_id, kind, lane, flow, campaign_id, destination, cost, state, payload, max_attempts,
                               parent_id, progress_total, trace)
             SELECT parts.id, campaign.workspace_id, $5, $6, 'campaign ' || campaign.id, campaign.id, parts.destination,
                    cardinality(parts.contact_ids), 'queued', jsonb_build_object('chunk_id', parts.id), $7, $8,
                    cardinality(parts.contact_ids), $9
             FROM parts CROSS JOIN campaign),
         -- max(uuid) is not there before PostgreSQL 18.
         last AS (SELECT contact_id FROM slice ORDER BY contact_id DESC LIMIT 1),
         moved AS (
             UPDATE campaigns c SET
                 launch_cursor = coalesce((SELECT contact_id FROM last), c.launch_cursor),
                 launch_counted = c.launch_counted + (SELECT count(*) FROM people),
                 audience = CASE WHEN (SELECT count(*) FROM slice) < $2 THEN c.launch_counted + (SELECT count(*) FROM people) END,
                 updated_at = now()
             WHERE c.id = $1 RETURNING c.launch_counted)
         SELECT launch_counted, (SELECT count(*) FROM slice) FROM moved",
    )
    .bind(campaign_id)
    .bind(settings.launch_slice)
    .bind(settings.single_destination_from)
    .bind(settings.chunk_recipients)
    .bind(SendChunk::NAME)
    .bind(SendChunk::LANE.name())
    .bind(SendChunk::ATTEMPTS)
    .bind(lease.job_id)
    .bind(traces::traceparent())
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(if seen < settings.launch_slice { Launch::Frozen(counted) } else { Launch::Counted(counted) })
}
