//! The noun: a fact as it is remembered.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use super::fact::{About, Fact, What, clean};
use crate::error::Result;

/// A row of `feedback_events`.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0018_bounces.sql")]
pub struct Event {
    pub id: Uuid,
    pub kind: String,
    pub source: String,
    pub class: Option<String>,
    pub hard: bool,
    pub smtp_code: Option<i16>,
    pub status: Option<String>,
    pub diagnostic: Option<String>,
    pub received_at: DateTime<Utc>,
}

/// Remembers a fact; false: it is known already. Of two that tell the same at once, one waits for the other.
///
/// # Errors
/// The database failed.
pub(super) async fn remember(connection: &mut PgConnection, workspace_id: Uuid, recipient: &str, fact: &Fact) -> Result<bool> {
    let (campaign_id, contact_id, message_id) = match fact.about {
        About::Delivery { campaign_id, contact_id } => (Some(campaign_id), Some(contact_id), None),
        About::Message { message_id } => (None, None, Some(message_id)),
    };
    let bounce = fact.bounce();
    let class = match &fact.what {
        What::Complaint(feedback_type) => Some(clean(feedback_type)),
        What::Unsubscribe => None,
        What::Bounce(bounce) | What::Delay(bounce) => Some(clean(&bounce.class)),
    };
    let made = sqlx::query(
        "INSERT INTO feedback_events (workspace_id, campaign_id, contact_id, message_id, recipient, kind, source, class, hard, smtp_code,
                                      status, diagnostic, dedupe_key, received_at, taken_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, now())
         ON CONFLICT (workspace_id, dedupe_key) DO NOTHING",
    )
    .bind(workspace_id)
    .bind(campaign_id)
    .bind(contact_id)
    .bind(message_id)
    .bind(recipient)
    .bind(fact.what.name())
    .bind(fact.source.name())
    .bind(class)
    .bind(bounce.is_some_and(|bounce| bounce.hard))
    .bind(bounce.and_then(|bounce| bounce.smtp_code))
    .bind(bounce.and_then(|bounce| bounce.status.as_deref()).map(clean))
    .bind(bounce.and_then(|bounce| bounce.diagnostic.as_deref()).map(clean))
    .bind(clean(&fact.dedupe_key()))
    .bind(fact.received_at)
    .execute(connection)
    .await?
    .rows_affected();
    Ok(made == 1)
}

/// What is known of one mail, oldest first.
///
/// # Errors
/// The database failed.
pub async fn about(pool: &PgPool, about: About) -> Result<Vec<Event>> {
    let (campaign_id, contact_id, message_id) = match about {
        About::Delivery { campaign_id, contact_id } => (Some(campaign_id), Some(contact_id), None),
        About::Message { message_id } => (None, None, Some(message_id)),
    };
    let events = sqlx::query_as(
        "SELECT id, kind, source, class, hard, smtp_code, status, diagnostic, received_at FROM feedback_events
         WHERE (campaign_id = $1 AND contact_id = $2) OR message_id = $3 ORDER BY received_at, id",
    )
    .bind(campaign_id)
    .bind(contact_id)
    .bind(message_id)
    .fetch_all(pool)
    .await?;
    Ok(events)
}
