//! Questions: to whom a campaign goes.

use serde_json::Value;
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use super::campaign::Campaign;
use crate::{
    error::Result,
    page::{Page, PageRequest},
};

/// A recipient, with where the campaign stands for it.
#[derive(Clone, Debug, FromRow)]
pub struct Listed {
    /// The contact.
    pub contact_id: Uuid,
    /// Where it was or would be sent; empty where the contact was deleted before its turn.
    pub email: String,
    /// The contact's name.
    pub name: String,
    /// State of the delivery; `pending`: not tried yet.
    pub state: String,
}

/// Somebody whom a campaign would reach.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0003_contacts.sql")]
pub struct Sample {
    pub id: Uuid,
    pub email: String,
    pub name: String,
    pub attributes: Value,
}

/// One subscribed member of these lists, if there is any.
///
/// # Errors
/// The database failed.
pub async fn sample(connection: &mut PgConnection, list_ids: &[Uuid]) -> Result<Option<Sample>> {
    Ok(sqlx::query_as(
        "SELECT c.id, c.email, c.name, c.attributes
         FROM list_members m JOIN contacts c ON c.id = m.contact_id
         WHERE m.list_id = ANY($1) AND c.state = 'subscribed' LIMIT 1",
    )
    .bind(list_ids)
    .fetch_optional(connection)
    .await?)
}

/// Before the launch: who is subscribed to its lists now. After: the audience as it was frozen.
///
/// # Errors
/// The database failed.
pub async fn page(pool: &PgPool, campaign: &Campaign, request: PageRequest) -> Result<Page<Listed>> {
    if campaign.launched_at.is_some() { frozen(pool, campaign.id, request).await } else { current(pool, campaign, request).await }
}

async fn current(pool: &PgPool, campaign: &Campaign, request: PageRequest) -> Result<Page<Listed>> {
    let total = sqlx::query_scalar(
        "SELECT count(*) FROM contacts c WHERE c.workspace_id = $1 AND c.state = 'subscribed'
           AND EXISTS (SELECT 1 FROM list_members m WHERE m.contact_id = c.id AND m.list_id = ANY($2))",
    )
    .bind(campaign.workspace_id)
    .bind(&campaign.list_ids)
    .fetch_one(pool)
    .await?;
    let rows = sqlx::query_as(
        "SELECT c.id AS contact_id, c.email, c.name, 'pending' AS state FROM contacts c
         WHERE c.workspace_id = $1 AND c.state = 'subscribed'
           AND EXISTS (SELECT 1 FROM list_members m WHERE m.contact_id = c.id AND m.list_id = ANY($2))
         ORDER BY c.id DESC LIMIT $3 OFFSET $4",
    )
    .bind(campaign.workspace_id)
    .bind(&campaign.list_ids)
    .bind(request.limit)
    .bind(request.offset())
    .fetch_all(pool)
    .await?;
    Ok(Page::new(request, total, rows))
}

async fn frozen(pool: &PgPool, campaign_id: Uuid, request: PageRequest) -> Result<Page<Listed>> {
    let total = sqlx::query_scalar("SELECT coalesce(audience, launch_counted) FROM campaigns WHERE id = $1")
        .bind(campaign_id)
        .fetch_one(pool)
        .await?;
    // A second try puts a recipient into another chunk, so ids are taken once.
    let rows = sqlx::query_as(
        "SELECT f.id AS contact_id, coalesce(d.recipient, c.email, '') AS email, coalesce(c.name, '') AS name,
                CASE d.state WHEN 'sending' THEN 'in_flight' ELSE coalesce(d.state, 'pending') END AS state
         FROM (SELECT DISTINCT u.id FROM chunks k CROSS JOIN unnest(k.contact_ids) AS u (id) WHERE k.campaign_id = $1
               ORDER BY u.id DESC LIMIT $2 OFFSET $3) f
         LEFT JOIN deliveries d ON d.campaign_id = $1 AND d.contact_id = f.id
         LEFT JOIN contacts c ON c.id = f.id
         ORDER BY f.id DESC",
    )
    .bind(campaign_id)
    .bind(request.limit)
    .bind(request.offset())
    .fetch_all(pool)
    .await?;
    Ok(Page::new(request, total, rows))
}
