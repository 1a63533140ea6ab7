//! What the link in a mail does: the contact is unsubscribed, and its address suppressed so that a later import cannot bring it back.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    error::Result,
    suppressions::suppression::{self, Reason},
};

/// Unsubscribes, inside the caller's transaction; a second time changes nothing. Works from the ledger where the contact is gone.
/// Answers whether anybody was meant.
///
/// # Errors
/// The database failed.
pub async fn apply(connection: &mut PgConnection, campaign_id: Uuid, contact_id: Uuid) -> Result<bool> {
    // Deleted campaigns too: their mails are still in people's inboxes.
    let meant: Option<(Uuid, String)> = sqlx::query_as(
        "SELECT c.workspace_id, coalesce(p.email, d.recipient) FROM campaigns c
         LEFT JOIN contacts p ON p.id = $2 AND p.workspace_id = c.workspace_id
         LEFT JOIN deliveries d ON d.campaign_id = c.id AND d.contact_id = $2
         WHERE c.id = $1 AND coalesce(p.email, nullif(d.recipient, '')) IS NOT NULL",
    )
    .bind(campaign_id)
    .bind(contact_id)
    .fetch_optional(&mut *connection)
    .await?;
    let Some((workspace_id, address)) = meant else { return Ok(false) };
    contact(connection, contact_id).await?;
    suppression::suppress(connection, workspace_id, &address, Reason::Unsubscribe, None).await?;
    Ok(true)
}

/// Marks the contact alone.
///
/// # Errors
/// The database failed.
pub async fn contact(connection: &mut PgConnection, contact_id: Uuid) -> Result<()> {
    sqlx::query(
        "UPDATE contacts SET state = 'unsubscribed', unsubscribed_at = coalesce(unsubscribed_at, now()), updated_at = now()
         WHERE id = $1 AND state = 'subscribed'",
    )
    .bind(contact_id)
    .execute(connection)
    .await?;
    Ok(())
}

/// Marks the contact of this address, where the workspace has one.
///
/// # Errors
/// The database failed.
pub async fn address(connection: &mut PgConnection, workspace_id: Uuid, address: &str) -> Result<()> {
    sqlx::query(
        "UPDATE contacts SET state = 'unsubscribed', unsubscribed_at = coalesce(unsubscribed_at, now()), updated_at = now()
         WHERE workspace_id = $1 AND email = $2 AND state = 'subscribed'",
    )
    .bind(workspace_id)
    .bind(address)
    .execute(connection)
    .await?;
    Ok(())
}
