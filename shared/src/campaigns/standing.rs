//! Questions that senders ask.

use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use super::template::CampaignContent;
use crate::error::{Error, Result};

/// What a sender needs of a campaign.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its state now.
    pub state: String,
    /// Whose it is.
    pub workspace_id: Uuid,
    /// To whom it goes.
    pub list_ids: Vec<Uuid>,
    /// The route that it pins.
    pub route_id: Option<Uuid>,
    /// What is the same for all recipients.
    pub content: CampaignContent,
}

#[derive(FromRow)]
struct Row {
    state: String,
    workspace_id: Uuid,
    list_ids: Vec<Uuid>,
    route_id: Option<Uuid>,
    name: String,
    subject: String,
    from_name: String,
    from_email: String,
    html: String,
    text: Option<String>,
}

/// The campaign's content and state.
///
/// # Errors
/// [`Error::NotFound`], or the database failed.
pub async fn find(pool: &PgPool, campaign_id: Uuid) -> Result<Standing> {
    let row: Row = sqlx::query_as(
        "SELECT state, workspace_id, list_ids, route_id, name, subject, from_name, from_email, html, text FROM campaigns WHERE id = $1",
    )
    .bind(campaign_id)
    .fetch_optional(pool)
    .await?
    .ok_or_else(|| Error::not_found("campaign", campaign_id))?;
    let Row { state, workspace_id, list_ids, route_id, name, subject, from_name, from_email, html, text } = row;
    let content = CampaignContent { name, subject, from_name, from_email, html, text };
    Ok(Standing { state, workspace_id, list_ids, route_id, content })
}

/// Which of these campaigns must not start another message: paused, cancelled or gone.
///
/// # Errors
/// The database failed.
pub async fn stopped(pool: &PgPool, campaigns: &[Uuid]) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar(
        "SELECT u.id FROM unnest($1::uuid[]) AS u (id) LEFT JOIN campaigns c ON c.id = u.id
         WHERE c.state IS DISTINCT FROM 'sending'",
    )
    .bind(campaigns)
    .fetch_all(pool)
    .await?)
}
