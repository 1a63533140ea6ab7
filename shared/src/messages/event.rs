//! The noun: what happened to a message, and when. Whoever changes the state of a message writes the event in the same statement.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use crate::error::Result;

/// A row of `message_events`.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0019_messages.sql")]
pub struct Event {
    pub kind: String,
    pub attempt: i16,
    pub route_id: Option<Uuid>,
    pub smtp_code: Option<i16>,
    pub enhanced_code: Option<String>,
    pub response: Option<String>,
    pub reason: Option<String>,
    pub created_at: DateTime<Utc>,
}

/// Those of a message, in their order.
///
/// # Errors
/// The database failed.
pub async fn of(pool: &PgPool, message_id: Uuid) -> Result<Vec<Event>> {
    let events = sqlx::query_as(
        "SELECT kind, attempt, route_id, smtp_code, enhanced_code, response, reason, created_at
         FROM message_events WHERE message_id = $1 ORDER BY id",
    )
    .bind(message_id)
    .fetch_all(pool)
    .await?;
    Ok(events)
}
