//! What is told of a message after it was handed over: it came back, or its recipient calls it spam. Accepted → bounced → complained, never
//! back. A message that is on the wire or waits for another attempt is settled by it: it must have been handed over. What failed, was
//! suppressed or cancelled stays so.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Result;

/// What was said.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Three digits, where they are known.
    pub smtp_code: Option<i16>,
    /// `x.y.z`, where it is known.
    pub enhanced_code: Option<String>,
    /// The server's words.
    pub response: Option<String>,
    /// Ours.
    pub reason: Option<String>,
}

/// The mail came back. Answers whether that is news.
///
/// # Errors
/// The database failed.
pub async fn bounced(connection: &mut PgConnection, message_id: Uuid, answer: &Answer) -> Result<bool> {
    settle(connection, message_id, "bounced", &["accepted", "sending", "deferred"], answer).await
}

/// The recipient called it spam. Answers whether that is news.
///
/// # Errors
/// The database failed.
pub async fn complained(connection: &mut PgConnection, message_id: Uuid, feedback_type: &str) -> Result<bool> {
    let answer = Answer { reason: Some(feedback_type.to_owned()), ..Answer::default() };
    settle(connection, message_id, "complained", &["accepted", "sending", "deferred", "bounced"], &answer).await
}

async fn settle(connection: &mut PgConnection, message_id: Uuid, state: &str, from: &[&str], answer: &Answer) -> Result<bool> {
    let settled = sqlx::query(
        "WITH moved AS (
             UPDATE messages SET state = $2, smtp_code = coalesce($4, smtp_code), enhanced_code = coalesce($5, enhanced_code),
                 response = coalesce($6, response), reason = $7, next_attempt_at = NULL, updated_at = now()
             WHERE id = $1 AND state = ANY ($3) RETURNING id, attempts, route_id),
         forgotten AS (UPDATE message_attachments SET content = NULL, updated_at = now() FROM moved WHERE message_id = moved.id)
         INSERT INTO message_events (message_id, kind, attempt, route_id, smtp_code, enhanced_code, response, reason)
         SELECT id, $2, attempts, route_id, $4, $5, $6, $7 FROM moved",
    )
    .bind(message_id)
    .bind(state)
    .bind(from)
    .bind(answer.smtp_code)
    .bind(&answer.enhanced_code)
    .bind(&answer.response)
    .bind(&answer.reason)
    .execute(connection)
    .await?
    .rows_affected();
    Ok(settled == 1)
}
