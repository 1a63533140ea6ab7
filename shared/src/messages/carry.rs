//! What a run does to the row of its message. An admission is fenced by the lease of its job, an outcome by its attempt. A message that a dead
//! process left in flight is admitted again: in doubt it is sent twice and not never.

use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use super::message::State;
use crate::{error::Result, queue::claim::Lease};

/// The answer to an admission.
#[derive(Clone, Debug, FromRow)]
pub struct Admitted {
    /// [`State::Sending`]: it may be sent. Anything else: it is over.
    #[sqlx(try_from = "String")]
    pub state: State,
    /// Attempts, with this one.
    pub attempts: i16,
    /// Since the first attempt.
    pub age_seconds: f64,
}

/// Begins an attempt, unless the recipient is suppressed, the message is too old, or mail must not come from its sender's domain any more:
/// then it is over. `None`: it is not this run's, or it is over already.
///
/// What is suppressed is who bounced, who complained, and whom a person of the workspace entered. Who unsubscribed from campaigns still
/// gets the receipt that was asked for.
///
/// # Errors
/// The database failed; the same call again is safe.
pub async fn admit(pool: &PgPool, lease: Lease, id: Uuid, attempt_id: i64, route_id: Uuid) -> Result<Option<Admitted>> {
    Ok(sqlx::query_as(
        "WITH found AS (
             SELECT m.id, CASE
                 WHEN m.expires_at <= now() THEN 'expired'
                 WHEN EXISTS (SELECT 1 FROM suppressions s WHERE s.workspace_id = m.workspace_id AND s.reason <> 'unsubscribe'
                                AND coalesce(s.expires_at, 'infinity') > now()
                                AND ((s.kind = 'address' AND s.value = m.recipient) OR (s.kind = 'domain' AND s.value = m.domain)))
                     THEN 'suppressed'
                 WHEN NOT EXISTS (SELECT 1 FROM sending_domains d WHERE d.workspace_id = m.workspace_id
                                    AND d.domain = split_part(m.from_email, '@', 2) AND d.state IN ('verified', 'degraded'))
                     THEN 'sending domain' END AS refusal
             FROM messages m JOIN jobs j ON j.id = $2 AND j.lease_epoch = $3 AND j.state = 'running'
             WHERE m.id = $1 AND m.state IN ('queued', 'sending', 'deferred')
             FOR UPDATE OF m),
         moved AS (
             UPDATE messages m SET
                 state = CASE found.refusal WHEN 'suppressed' THEN 'suppressed' WHEN 'expired' THEN 'failed' WHEN 'sending domain' THEN 'failed'
                         ELSE 'sending' END,
                 reason = found.refusal, attempt_id = $4, next_attempt_at = NULL, updated_at = now(),
                 attempts = m.attempts + (found.refusal IS NULL AND m.attempt_id <> $4)::int,
                 route_id = CASE WHEN found.refusal IS NULL THEN $5 ELSE m.route_id END,
                 first_attempt_at = CASE WHEN found.refusal IS NULL THEN coalesce(m.first_attempt_at, now()) ELSE m.first_attempt_at END,
                 last_attempt_at = CASE WHEN found.refusal IS NULL THEN now() ELSE m.last_attempt_at END
             FROM found WHERE m.id = found.id
             RETURNING m.id, m.state, m.attempts, m.reason, m.first_attempt_at),
         told AS (
             INSERT INTO message_events (message_id, kind, attempt, route_id, reason)
             SELECT id, state, attempts, CASE WHEN state = 'sending' THEN $5 END, reason FROM moved),
         forgotten AS (
             UPDATE message_attachments SET content = NULL, updated_at = now() FROM moved WHERE message_id = moved.id AND state <> 'sending')
         SELECT state, attempts, coalesce(extract(epoch FROM now() - first_attempt_at), 0)::float8 AS age_seconds FROM moved",
    )
    .bind(id)
    .bind(lease.job_id)
    .bind(lease.epoch)
    .bind(attempt_id)
    .bind(route_id)
    .fetch_optional(pool)
    .await?)
}

/// What became of an attempt.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The message.
    pub id: Uuid,
    /// The attempt.
    pub attempt_id: i64,
    /// The route that was tried last.
    pub route_id: Uuid,
    /// What becomes of it.
    pub state: State,
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

/// Records it, if the message is still in flight by this attempt. Answers the seconds since the message was taken.
///
/// # Errors
/// The database failed; the same call again is safe.
pub async fn record(pool: &PgPool, outcome: &Outcome) -> Result<Option<f64>> {
    Ok(sqlx::query_scalar(
        "WITH moved AS (
             UPDATE messages SET state = $3, smtp_code = $4, enhanced_code = $5, response = $6, reason = $7, route_id = $8,
                 next_attempt_at = CASE WHEN $3 = 'deferred' THEN now() + make_interval(secs => $9) END, updated_at = now()
             WHERE id = $1 AND attempt_id = $2 AND state = 'sending'
             RETURNING id, attempts, created_at, workspace_id, recipient),
         -- Refusals wait there for the workspace's policy.
         noted AS (
             INSERT INTO feedback_events (workspace_id, message_id, recipient, kind, source, smtp_code, status, diagnostic, dedupe_key, received_at)
             SELECT workspace_id, id, recipient, 'bounce', 'smtp', $4, $5, $6, 'smtp ' || id || ' ' || $2, now()
             FROM moved WHERE $3 IN ('bounced', 'failed') AND $4 IS NOT NULL
             ON CONFLICT DO NOTHING),
         told AS (
             INSERT INTO message_events (message_id, kind, attempt, route_id, smtp_code, enhanced_code, response, reason)
             SELECT id, $3, attempts, $8, $4, $5, $6, $7 FROM moved),
         forgotten AS (
             UPDATE message_attachments SET content = NULL, updated_at = now() FROM moved WHERE message_id = moved.id AND $3 <> 'deferred')
         SELECT extract(epoch FROM clock_timestamp() - created_at)::float8 FROM moved",
    )
    .bind(outcome.id)
    .bind(outcome.attempt_id)
    .bind(outcome.state.name())
    .bind(outcome.smtp_code)
    .bind(&outcome.enhanced_code)
    .bind(&outcome.response)
    .bind(outcome.reason)
    .bind(outcome.route_id)
    .bind(outcome.delay_seconds)
    .fetch_optional(pool)
    .await?)
}

/// Ends messages whose job is over or gone though they are not: a person cancelled it, or it was taken for poison. Answers how many.
///
/// # Errors
/// The database failed.
pub async fn settle_orphans(pool: &PgPool) -> Result<u64> {
    Ok(sqlx::query(
        "WITH orphans AS (
             SELECT m.id, CASE WHEN j.state = 'cancelled' THEN 'cancelled' ELSE 'failed' END AS state
             FROM messages m LEFT JOIN jobs j ON j.id = m.job_id
             WHERE m.state IN ('queued', 'sending', 'deferred')
               AND (j.id IS NULL OR j.state IN ('succeeded', 'failed', 'cancelled', 'dead'))
             LIMIT 500 FOR UPDATE OF m SKIP LOCKED),
         moved AS (
             UPDATE messages m SET state = orphans.state, reason = CASE orphans.state WHEN 'failed' THEN 'internal' END, next_attempt_at = NULL,
                 updated_at = now()
             FROM orphans WHERE m.id = orphans.id RETURNING m.id, m.state, m.attempts, m.reason),
         forgotten AS (UPDATE message_attachments SET content = NULL, updated_at = now() FROM moved WHERE message_id = moved.id)
         INSERT INTO message_events (message_id, kind, attempt, reason) SELECT id, state, attempts, reason FROM moved",
    )
    .execute(pool)
    .await?
    .rows_affected())
}
