//! Where a campaign comes from: from a domain that is verified, or not at all; and one that is lost holds its campaigns back.

use sqlx::PgConnection;
use uuid::Uuid;

use super::campaign::Campaign;
use crate::{error::Result, sending_domains::usable};

/// Holds the domain of the campaign's sender as it is until the transaction ends.
///
/// # Errors
/// [`crate::error::Error::Conflict`]: mail cannot come from it; names the domain and the failed checks.
pub(super) async fn require(connection: &mut PgConnection, campaign: &Campaign) -> Result<()> {
    usable::hold(connection, campaign.workspace_id, campaign.from_domain()).await.map(drop)
}

/// Pauses what a workspace is sending from a domain; the reason is told with each campaign. In the transaction that takes the domain away.
///
/// # Errors
/// The database failed.
pub async fn hold_back(connection: &mut PgConnection, workspace_id: Uuid, domain: &str, reason: &str) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar(
        "UPDATE campaigns SET state = 'paused', pause_reason = $3, updated_at = now()
         WHERE workspace_id = $1 AND state = 'sending' AND split_part(from_email, '@', 2) = $2 RETURNING id",
    )
    .bind(workspace_id)
    .bind(domain)
    .bind(reason)
    .fetch_all(connection)
    .await?)
}
