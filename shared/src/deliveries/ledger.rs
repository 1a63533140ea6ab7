//! Admission and outcome. Both are one multi-row statement, so that many connections share one commit.
//!
//! The primary key is the fence: only what an admission returns may be sent. If the answer to its commit is lost, the same statement
//! again recognises its own rows by their attempt ids. An outcome names the attempt id: it is true whatever became of the lease.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, QueryBuilder};
use uuid::Uuid;

use crate::error::Result;

/// A recipient that a run wants to send to.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The campaign.
    pub campaign_id: Uuid,
    /// The recipient.
    pub contact_id: Uuid,
    /// The chunk, which is the job.
    pub chunk_id: Uuid,
    /// Epoch of the run.
    pub lease_epoch: i64,
    /// Random; names this attempt for good.
    pub attempt_id: i64,
    /// The address.
    pub recipient: String,
    /// Its domain.
    pub domain: String,
    /// The way that it is going to take.
    pub route_id: Uuid,
}

/// The answer for one recipient. One that is not answered for must not be sent: the campaign is paused or cancelled, the lease is lost,
/// or the recipient has had its turn.
#[derive(Clone, Debug, FromRow, PartialEq)]
pub struct Admitted {
    /// Which attempt.
    pub attempt_id: i64,
    /// `sending` or `suppressed`.
    pub state: String,
    /// Attempts, with this one.
    pub attempts: i16,
    /// Seconds since the first one.
    pub age_seconds: f64,
}

impl Admitted {
    /// Whether the message may start.
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.state == "sending"
    }
}

/// Makes a connection fit for the ledger: its statements join a few hundred rows by primary key, and must never be planned as a scan
/// of a table whose statistics are young.
///
/// # Errors
/// The database failed.
pub async fn prepare(connection: &mut PgConnection) -> Result<()> {
    sqlx::raw_sql(
        "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET plan_cache_mode = force_generic_plan;
         SET jit = off; SET application_name = 'mochila-ledger'",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Admits recipients: checks the operator's switch, epoch, campaign, contact and suppression, and writes `sending` or `suppressed`, in one
/// statement. `judged` is materialised, or the refusal would be looked up anew wherever it is read: three times.
///
/// # Errors
/// The database failed; whether it committed is not known, and the same call again is safe.
pub async fn admit(connection: &mut PgConnection, asked: &[Admission]) -> Result<Vec<Admitted>> {
    let admitted = sqlx::query_as::<_, Admitted>(
        "WITH asked AS (
             SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::uuid[])
                 AS a (campaign_id, contact_id, chunk_id, lease_epoch, attempt_id, recipient, domain, route_id)),
         judged AS MATERIALIZED (
             SELECT a.*, CASE
                 WHEN contact.id IS NULL THEN 'deleted'
                 WHEN contact.state <> 'subscribed' THEN contact.state
                 WHEN EXISTS (SELECT 1 FROM suppressions s WHERE s.workspace_id = c.workspace_id
                              AND s.kind = 'address' AND s.value = a.recipient
                              AND (s.expires_at IS NULL OR s.expires_at > now())) THEN 'suppressed'
                 WHEN EXISTS (SELECT 1 FROM suppressions s WHERE s.workspace_id = c.workspace_id
                              AND s.kind = 'domain' AND s.value = a.domain
                              AND (s.expires_at IS NULL OR s.expires_at > now())) THEN 'suppressed' END AS refusal
             FROM asked a
             JOIN campaigns c ON c.id = a.campaign_id AND c.state = 'sending'
             JOIN jobs j ON j.id = a.chunk_id AND j.lease_epoch = a.lease_epoch AND j.state = 'running'
             LEFT JOIN contacts contact ON contact.id = a.contact_id
             WHERE NOT EXISTS (SELECT 1 FROM sending_switch WHERE paused_at IS NOT NULL))
         INSERT INTO deliveries AS d (campaign_id, contact_id, chunk_id, lease_epoch, attempt_id, state, attempts, recipient, domain,
                                      reason, route_id, first_attempt_at, last_attempt_at)
         SELECT campaign_id, contact_id, chunk_id, lease_epoch, attempt_id,
                CASE WHEN refusal IS NULL THEN 'sending' ELSE 'suppressed' END, CASE WHEN refusal IS NULL THEN 1 ELSE 0 END,
                recipient, domain, refusal, route_id, now(), now()
         FROM judged ORDER BY campaign_id, contact_id
         ON CONFLICT (campaign_id, contact_id) DO UPDATE SET
             state = excluded.state, chunk_id = excluded.chunk_id, lease_epoch = excluded.lease_epoch, route_id = excluded.route_id,
             attempts = CASE WHEN d.attempt_id = excluded.attempt_id THEN d.attempts ELSE d.attempts + excluded.attempts END,
             attempt_id = excluded.attempt_id, reason = excluded.reason,
             first_attempt_at = coalesce(d.first_attempt_at, now()), last_attempt_at = now(), updated_at = now()
         WHERE (d.state = 'deferred' AND d.chunk_id = excluded.chunk_id AND d.next_attempt_at IS NULL)
            OR (d.attempt_id = excluded.attempt_id AND d.state IN ('sending', 'suppressed'))
         RETURNING d.attempt_id, d.state, d.attempts, extract(epoch FROM now() - d.first_attempt_at)::float8 AS age_seconds",
    )
    .bind(column(asked, |a| a.campaign_id))
    .bind(column(asked, |a| a.contact_id))
    .bind(column(asked, |a| a.chunk_id))
    .bind(column(asked, |a| a.lease_epoch))
    .bind(column(asked, |a| a.attempt_id))
    .bind(column(asked, |a| a.recipient.as_str()))
    .bind(column(asked, |a| a.domain.as_str()))
    .bind(column(asked, |a| a.route_id))
    .fetch_all(connection)
    .await?;
    Ok(admitted)
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The server took responsibility: 250 after the final dot.
    Accepted,
    /// The address or its domain is at fault.
    Bounced,
    /// Refused for good for another reason, expired, or an error of ours.
    Failed,
    /// Another attempt follows.
    Deferred,
    /// In doubt.
    Unknown,
}

impl State {
    /// As in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Bounced => "bounced",
            Self::Failed => "failed",
            Self::Deferred => "deferred",
            Self::Unknown => "unknown",
        }
    }
}

/// The outcome of one attempt.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The campaign.
    pub campaign_id: Uuid,
    /// The recipient.
    pub contact_id: Uuid,
    /// Which attempt.
    pub attempt_id: i64,
    /// The way that it took: after a failover not the one of its admission.
    pub route_id: Uuid,
    /// How it ended.
    pub state: State,
    /// The attempt never started and does not count.
    pub released: bool,
    /// Three digits, where a server answered.
    pub smtp_code: Option<i16>,
    /// `x.y.z`, where a server said it.
    pub enhanced_code: Option<String>,
    /// The server's words.
    pub response: Option<String>,
    /// Ours.
    pub reason: Option<&'static str>,
    /// Deferred: seconds until the next attempt.
    pub delay_seconds: f64,
}

/// Records outcomes where the attempt is still `sending`, or `unknown` because somebody believed its process dead. A campaign that was
/// finished meanwhile is opened again, to be counted anew. Answers how many rows it moved.
///
/// # Errors
/// The database failed; the same call again is safe.
pub async fn record(connection: &mut PgConnection, outcomes: &[Outcome]) -> Result<u64> {
    // Materialised, with the campaign in it: joined to deliveries directly, campaigns.id alone becomes the index condition while the
    // table has no statistics yet, and each outcome reads its whole campaign.
    let moved: i64 = sqlx::query_scalar(
        "WITH o AS MATERIALIZED (
             SELECT o.*, c.state AS campaign_state, c.workspace_id
             FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::bool[], $6::smallint[], $7::text[], $8::text[],
                         $9::text[], $10::float8[], $11::uuid[])
                 AS o (campaign_id, contact_id, attempt_id, state, released, smtp_code, enhanced_code, response, reason, delay,
                       route_id)
             JOIN campaigns c ON c.id = o.campaign_id),
         moved AS (
             UPDATE deliveries d SET
                 state = CASE WHEN o.state = 'deferred' AND o.campaign_state = 'cancelled' THEN 'cancelled' ELSE o.state END,
                 attempts = d.attempts - o.released::int,
                 smtp_code = o.smtp_code, enhanced_code = o.enhanced_code, response = o.response, reason = o.reason,
                 route_id = o.route_id, last_attempt_at = now(),
                 next_attempt_at = CASE WHEN o.state = 'deferred' AND o.campaign_state IS DISTINCT FROM 'cancelled'
                     THEN now() + make_interval(secs => o.delay) END,
                 updated_at = now()
             FROM o
             WHERE d.campaign_id = o.campaign_id AND d.contact_id = o.contact_id AND d.attempt_id = o.attempt_id
               AND d.state IN ('sending', 'unknown')
             RETURNING d.campaign_id, d.contact_id, d.attempt_id, d.recipient, d.state, d.smtp_code, d.enhanced_code, d.response,
                       o.workspace_id),
         -- Refusals wait there for the workspace's policy.
         noted AS (
             INSERT INTO feedback_events (workspace_id, campaign_id, contact_id, recipient, kind, source, smtp_code, status, diagnostic,
                                          dedupe_key, received_at)
             SELECT workspace_id, campaign_id, contact_id, recipient, 'bounce', 'smtp', smtp_code, enhanced_code, response,
                    'smtp ' || campaign_id || ' ' || contact_id || ' ' || attempt_id, now()
             FROM moved WHERE state IN ('bounced', 'failed') AND smtp_code IS NOT NULL
             ON CONFLICT DO NOTHING),
         reopened AS (
             UPDATE campaigns SET state = 'sending', finished_at = NULL, updated_at = now()
             WHERE id IN (SELECT campaign_id FROM moved) AND state IN ('finished', 'finished_with_failures'))
         SELECT count(*) FROM moved",
    )
    .bind(column(outcomes, |o| o.campaign_id))
    .bind(column(outcomes, |o| o.contact_id))
    .bind(column(outcomes, |o| o.attempt_id))
    .bind(column(outcomes, |o| o.state.name()))
    .bind(column(outcomes, |o| o.released))
    .bind(column(outcomes, |o| o.smtp_code))
    .bind(column(outcomes, |o| o.enhanced_code.as_deref()))
    .bind(column(outcomes, |o| o.response.as_deref()))
    .bind(column(outcomes, |o| o.reason))
    .bind(column(outcomes, |o| o.delay_seconds))
    .bind(column(outcomes, |o| o.route_id))
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(moved).unwrap_or(0))
}

/// A recipient whose turn does not come in this run, though it was never tried: its destination is throttled while its chunk is mixed.
#[derive(Clone, Debug)]
pub struct Postponed {
    /// The recipient.
    pub contact_id: Uuid,
    /// The address.
    pub recipient: String,
    /// Its domain.
    pub domain: String,
    /// When it comes round.
    pub until: DateTime<Utc>,
}

/// Writes `deferred` rows for recipients that were not tried, to come round in chunks of their own destination. Fenced.
///
/// # Errors
/// The database failed.
pub async fn postpone(
    connection: &mut PgConnection,
    campaign_id: Uuid,
    chunk_id: Uuid,
    lease_epoch: i64,
    recipients: &[Postponed],
) -> Result<u64> {
    if recipients.is_empty() {
        return Ok(0);
    }
    let mut query = QueryBuilder::new(
        "INSERT INTO deliveries AS d (campaign_id, contact_id, recipient, domain, chunk_id, lease_epoch, attempt_id, state, reason,
                                      next_attempt_at) ",
    );
    query
        .push("SELECT ")
        .push_bind(campaign_id)
        .push(", u.contact_id, u.recipient, u.domain, j.id, j.lease_epoch, 0, 'deferred', 'throttled', u.until FROM unnest(");
    query.push_bind(column(recipients, |r| r.contact_id)).push("::uuid[], ");
    query.push_bind(column(recipients, |r| r.recipient.as_str())).push("::text[], ");
    query.push_bind(column(recipients, |r| r.domain.as_str())).push("::text[], ");
    query
        .push_bind(column(recipients, |r| r.until))
        .push("::timestamptz[]) AS u (contact_id, recipient, domain, until) JOIN jobs j ON j.id = ");
    query.push_bind(chunk_id).push(" AND j.state = 'running' AND j.lease_epoch = ").push_bind(lease_epoch);
    query.push(
        " ORDER BY u.contact_id
          ON CONFLICT (campaign_id, contact_id) DO UPDATE SET next_attempt_at = excluded.next_attempt_at, updated_at = now()
          WHERE d.state = 'deferred' AND d.chunk_id = excluded.chunk_id AND d.next_attempt_at IS NULL",
    );
    Ok(query.build().execute(connection).await?.rows_affected())
}

fn column<'a, T, V>(rows: &'a [T], value: impl Fn(&'a T) -> V) -> Vec<V> {
    rows.iter().map(value).collect()
}
