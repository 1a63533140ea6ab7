//! The rule of bounces: a hard one suppresses the address at once, soft ones do when there are too many in a row.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    error::Result,
    suppressions::{
        policy::Policy,
        suppression::{self, Reason},
    },
};

/// Classes that say nothing about the address: our reputation, our content, the way there. They never suppress anybody.
const NOT_THE_ADDRESS: [&str; 13] = [
    "policy",
    "spam_block",
    "reputation",
    "authentication",
    "rate",
    "routing",
    "protocol",
    "relay_denied",
    "content",
    "message",
    "credentials",
    "connection",
    "busy",
];

/// Whether a soft bounce of this class counts against the address.
#[must_use]
pub fn counts(class: &str) -> bool {
    !NOT_THE_ADDRESS.contains(&class)
}

/// Applies the policy to an address that has just bounced. Answers whether it is suppressed by that.
///
/// # Errors
/// The database failed.
pub async fn bounced(
    connection: &mut PgConnection,
    workspace_id: Uuid,
    address: &str,
    hard: bool,
    policy: &Policy,
) -> Result<bool> {
    if hard {
        return suppression::suppress(connection, workspace_id, address, Reason::Bounce, None).await;
    }
    if in_a_row(connection, workspace_id, address).await? < i64::from(policy.soft_bounces) {
        return Ok(false);
    }
    suppression::suppress(connection, workspace_id, address, Reason::Bounce, Some(policy.soft_days)).await
}

/// Mails whose soft bounces count, since the address last took one.
async fn in_a_row(connection: &mut PgConnection, workspace_id: Uuid, address: &str) -> Result<i64> {
    // Asked of the campaigns that are younger than the first of those bounces, by their primary keys: the ledger has no index of addresses.
    let count = sqlx::query_scalar(
        "WITH soft AS MATERIALIZED (
             SELECT campaign_id, contact_id, message_id, received_at FROM feedback_events
             WHERE workspace_id = $1 AND recipient = $2 AND kind = 'bounce' AND NOT hard AND NOT (coalesce(class, '') = ANY ($3))
               AND received_at > now() - interval '1 year'),
         taken AS (
             SELECT max(d.last_attempt_at) AS at
             FROM contacts p
             JOIN campaigns c ON c.workspace_id = p.workspace_id
              AND c.launched_at > (SELECT min(received_at) - interval '7 days' FROM soft)
             JOIN deliveries d ON d.campaign_id = c.id AND d.contact_id = p.id AND d.state = 'accepted'
             WHERE p.workspace_id = $1 AND p.email = $2
             UNION ALL
             SELECT max(last_attempt_at) FROM messages WHERE workspace_id = $1 AND recipient = $2 AND state = 'accepted')
         SELECT count(DISTINCT (campaign_id, contact_id, message_id)) FROM soft
         WHERE received_at > coalesce((SELECT max(at) FROM taken), '-infinity')",
    )
    .bind(workspace_id)
    .bind(address)
    .bind(NOT_THE_ADDRESS)
    .fetch_one(connection)
    .await?;
    Ok(count)
}
