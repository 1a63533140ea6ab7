//! The noun: a campaign, its states, how it is made, changed, found and deleted.
//!
//! ```text
//! draft → scheduled → sending ⇄ paused → finished | finished_with_failures | cancelled
//! ```

use std::{fmt, str::FromStr};

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{draft::Draft, template::CampaignContent};
use crate::{
    accounts::scope::Scope,
    error::{Error, Result},
    idempotency::reserved,
    page::{Page, PageRequest},
    version::Expected,
};

/// Where a campaign stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CampaignState)]
pub enum State {
    /// Being written.
    Draft,
    /// Sent when its time comes.
    Scheduled,
    /// On its way.
    Sending,
    /// Held back by a person.
    Paused,
    /// Everybody has an outcome, and nobody failed or is in doubt.
    Finished,
    /// Everybody has an outcome.
    FinishedWithFailures,
    /// Ended by a person.
    Cancelled,
}

impl State {
    /// All states.
    pub const ALL: [Self; 7] =
        [Self::Draft, Self::Scheduled, Self::Sending, Self::Paused, Self::Finished, Self::FinishedWithFailures, Self::Cancelled];

    /// As in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Scheduled => "scheduled",
            Self::Sending => "sending",
            Self::Paused => "paused",
            Self::Finished => "finished",
            Self::FinishedWithFailures => "finished_with_failures",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it has been launched, so that its audience is frozen or being frozen.
    #[must_use]
    pub const fn is_launched(self) -> bool {
        !matches!(self, Self::Draft | Self::Scheduled)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|state| state.name() == name).ok_or_else(|| format!("there is no state {name:?}"))
    }
}

impl TryFrom<String> for State {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

/// A row of `campaigns`.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0005_campaigns.sql")]
pub struct Campaign {
    pub id: Uuid,
    pub workspace_id: Uuid,
    pub name: String,
    pub subject: String,
    pub from_name: String,
    pub from_email: String,
    pub html: String,
    pub text: Option<String>,
    pub list_ids: Vec<Uuid>,
    pub route_id: Option<Uuid>,
    #[sqlx(try_from = "String")]
    pub state: State,
    pub scheduled_at: Option<DateTime<Utc>>,
    pub launched_at: Option<DateTime<Utc>>,
    pub launch_counted: i64,
    pub audience: Option<i64>,
    pub finished_at: Option<DateTime<Utc>>,
    pub pause_reason: Option<String>,
    pub complaint_warning_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Campaign {
    /// What it says.
    #[must_use]
    pub fn content(&self) -> CampaignContent {
        CampaignContent {
            name: self.name.clone(),
            subject: self.subject.clone(),
            from_name: self.from_name.clone(),
            from_email: self.from_email.clone(),
            html: self.html.clone(),
            text: self.text.clone(),
        }
    }

    /// What stands after the `@` of its sender, and of its Message-IDs.
    #[must_use]
    pub fn from_domain(&self) -> &str {
        self.from_email.rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    /// # Errors
    /// [`Error::Conflict`] names the state, unless it is among `allowed`.
    pub fn require(&self, allowed: &[State], what: &str) -> Result<()> {
        if allowed.contains(&self.state) {
            return Ok(());
        }
        Err(Error::Conflict(format!("campaign {} is {}: {what}", self.id, self.state)))
    }
}

/// What is to change; what is absent stays.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the fields of a campaign")]
pub struct Change {
    pub name: Option<String>,
    pub subject: Option<String>,
    pub from_name: Option<String>,
    pub from_email: Option<String>,
    pub html: Option<String>,
    pub text: Option<Option<String>>,
    pub list_ids: Option<Vec<Uuid>>,
    pub route_id: Option<Option<Uuid>>,
    pub scheduled_at: Option<Option<DateTime<Utc>>>,
}

/// Which campaigns a page shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Part of the name or the subject; empty: any.
    pub search: String,
    /// In this state.
    pub state: Option<State>,
    /// Made on this day (UTC) or later.
    pub date_from: Option<NaiveDate>,
    /// Made on this day (UTC) or earlier.
    pub date_to: Option<NaiveDate>,
}

/// Makes a draft in the caller's workspace.
///
/// # Errors
/// [`Error::Invalid`] names every wrong field.
pub async fn create(connection: &mut PgConnection, scope: Scope, mut draft: Draft, now: DateTime<Utc>) -> Result<Campaign> {
    draft.check(connection, scope, Some(now)).await?;
    let Draft { content, list_ids, route_id, scheduled_at } = draft;
    let id = reserved::id();
    let created = sqlx::query_as(
        "INSERT INTO campaigns (id, workspace_id, name, subject, from_name, from_email, html, text, list_ids, route_id, scheduled_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (id) DO NOTHING RETURNING *",
    )
    .bind(id)
    .bind(scope.workspace_id)
    .bind(content.name)
    .bind(content.subject)
    .bind(content.from_name)
    .bind(content.from_email)
    .bind(content.html)
    .bind(content.text)
    .bind(list_ids)
    .bind(route_id)
    .bind(scheduled_at)
    .fetch_optional(&mut *connection)
    .await?;
    match created {
        Some(created) => Ok(created),
        // A run of the same request made it, and died before it could say so.
        None => hold(connection, scope, id).await,
    }
}

/// Changes a draft or a scheduled campaign, inside the caller's transaction. One that loses its date is a draft again.
///
/// # Errors
/// [`Error::Invalid`] names every wrong field. [`Error::Conflict`]: it has been launched. [`Error::NotFound`], [`Error::Forbidden`].
pub async fn change(connection: &mut PgConnection, scope: Scope, id: Uuid, change: Change, now: DateTime<Utc>) -> Result<Campaign> {
    let old = hold(connection, scope, id).await?;
    old.require(&[State::Draft, State::Scheduled], "only a draft or a scheduled campaign can be changed")?;
    let new_date = change.scheduled_at.is_some().then_some(now);
    let mut draft = Draft {
        content: CampaignContent {
            name: change.name.unwrap_or(old.name),
            subject: change.subject.unwrap_or(old.subject),
            from_name: change.from_name.unwrap_or(old.from_name),
            from_email: change.from_email.unwrap_or(old.from_email),
            html: change.html.unwrap_or(old.html),
            text: change.text.unwrap_or(old.text),
        },
        list_ids: change.list_ids.unwrap_or(old.list_ids),
        route_id: change.route_id.unwrap_or(old.route_id),
        scheduled_at: change.scheduled_at.unwrap_or(old.scheduled_at),
    };
    draft.check(connection, scope, new_date).await?;
    let Draft { content, list_ids, route_id, scheduled_at } = draft;
    Ok(sqlx::query_as(
        "UPDATE campaigns SET name = $2, subject = $3, from_name = $4, from_email = $5, html = $6, text = $7, list_ids = $8,
             route_id = $9, scheduled_at = $10, state = CASE WHEN $10 IS NULL THEN 'draft' ELSE state END, updated_at = now()
         WHERE id = $1 RETURNING *",
    )
    .bind(id)
    .bind(content.name)
    .bind(content.subject)
    .bind(content.from_name)
    .bind(content.from_email)
    .bind(content.html)
    .bind(content.text)
    .bind(list_ids)
    .bind(route_id)
    .bind(scheduled_at)
    .fetch_one(connection)
    .await?)
}

/// The campaign `id`, for reading.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Forbidden`]: another workspace's.
pub async fn find(pool: &PgPool, scope: Scope, id: Uuid) -> Result<Campaign> {
    let campaign = read(pool, id).await?;
    scope.may_read("campaign", id, campaign.workspace_id)?;
    Ok(campaign)
}

/// The campaign `id`, whoever it belongs to: for jobs.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn read(pool: &PgPool, id: Uuid) -> Result<Campaign> {
    sqlx::query_as("SELECT * FROM campaigns WHERE id = $1 AND deleted_at IS NULL")
        .bind(id)
        .fetch_optional(pool)
        .await?
        .ok_or_else(|| Error::not_found("campaign", id))
}

/// The campaign `id`, held for a change until the caller's transaction ends.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Forbidden`]: another workspace's.
pub async fn hold(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<Campaign> {
    let campaign: Option<Campaign> =
        sqlx::query_as("SELECT * FROM campaigns WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE")
            .bind(id)
            .fetch_optional(connection)
            .await?;
    let campaign = campaign.ok_or_else(|| Error::not_found("campaign", id))?;
    scope.may_change("campaign", id, campaign.workspace_id)?;
    Ok(campaign)
}

/// Holds the campaign until the transaction ends, if it is still what a change expects; asks nothing where any will do.
///
/// # Errors
/// [`Error::Outdated`], [`Error::NotFound`], [`Error::Forbidden`].
pub async fn expect(connection: &mut PgConnection, scope: Scope, id: Uuid, expected: &Expected) -> Result<()> {
    if *expected == Expected::Any {
        return Ok(());
    }
    expected.check("campaign", id, hold(connection, scope, id).await?.updated_at)
}

/// The workspace's campaigns that pass the filter, newest first, without their bodies.
///
/// # Errors
/// The database failed.
pub async fn page(pool: &PgPool, scope: Scope, filter: &Filter, request: PageRequest) -> Result<Page<Campaign>> {
    let mut count = QueryBuilder::new("SELECT count(*) FROM campaigns");
    narrow(&mut count, scope, filter);
    let total = count.build_query_scalar().fetch_one(pool).await?;
    let mut rows = QueryBuilder::new(
        "SELECT id, workspace_id, name, subject, from_name, from_email, '' AS html, NULL::text AS text, list_ids, route_id, state,
                scheduled_at, launched_at, launch_counted, audience, finished_at, pause_reason, complaint_warning_at,
                created_at, updated_at
         FROM campaigns",
    );
    narrow(&mut rows, scope, filter);
    rows.push(" ORDER BY id DESC LIMIT ").push_bind(request.limit).push(" OFFSET ").push_bind(request.offset());
    Ok(Page::new(request, total, rows.build_query_as().fetch_all(pool).await?))
}

fn narrow(query: &mut QueryBuilder<Postgres>, scope: Scope, filter: &Filter) {
    query.push(" WHERE deleted_at IS NULL AND workspace_id = ").push_bind(scope.workspace_id);
    if !filter.search.is_empty() {
        let search = filter.search.to_lowercase();
        query.push(" AND (position(").push_bind(search.clone()).push(" IN lower(name)) > 0 OR position(");
        query.push_bind(search).push(" IN lower(subject)) > 0)");
    }
    if let Some(state) = filter.state {
        query.push(" AND state = ").push_bind(state.name());
    }
    if let Some(date) = filter.date_from {
        query.push(" AND created_at >= ").push_bind(date).push("::date");
    }
    if let Some(date) = filter.date_to {
        query.push(" AND created_at < ").push_bind(date).push("::date + 1");
    }
}

/// Takes a campaign out of sight; its ledger stays. One that is on its way must be cancelled first.
///
/// # Errors
/// [`Error::Conflict`]: it is sending or paused. [`Error::NotFound`], [`Error::Forbidden`].
pub async fn delete(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<()> {
    let campaign = hold(connection, scope, id).await?;
    campaign.require(
        &[State::Draft, State::Scheduled, State::Finished, State::FinishedWithFailures, State::Cancelled],
        "cancel it before it is deleted",
    )?;
    // A scheduled one must not wake up again.
    sqlx::query(
        "UPDATE campaigns SET deleted_at = now(), updated_at = now(), state = CASE state WHEN 'scheduled' THEN 'draft' ELSE state END
         WHERE id = $1",
    )
    .bind(id)
    .execute(connection)
    .await?;
    Ok(())
}
