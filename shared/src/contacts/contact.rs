//! The noun: a contact, somebody whom a workspace writes to. An address is there once in a workspace.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, PgPool, Postgres, QueryBuilder, types::Json};
use uuid::Uuid;

use super::attributes::{self, Attributes};
use crate::{
    accounts::scope::Scope,
    address::Address,
    error::{Error, Result},
    page::{Page, PageRequest},
    version::Expected,
};

/// Whether a contact is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContactState {
    /// Yes.
    Subscribed,
    /// No: the contact said so.
    Unsubscribed,
    /// No: the workspace said so.
    Blocked,
}

impl ContactState {
    /// As in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subscribed => "subscribed",
            Self::Unsubscribed => "unsubscribed",
            Self::Blocked => "blocked",
        }
    }
}

/// A row of `contacts`.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0003_contacts.sql")]
pub struct Contact {
    pub id: Uuid,
    pub workspace_id: Uuid,
    pub email: String,
    pub name: String,
    pub attributes: Json<Attributes>,
    pub state: String,
    pub unsubscribed_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A contact to be made.
#[derive(Clone, Debug, Default)]
pub struct NewContact {
    /// Checked here.
    pub email: String,
    /// May be empty.
    pub name: String,
    /// May be empty.
    pub attributes: Attributes,
}

/// What is to change; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Another address.
    pub email: Option<String>,
    /// Another name.
    pub name: Option<String>,
    /// Other attributes, in place of all of them.
    pub attributes: Option<Attributes>,
    /// Another state.
    pub state: Option<ContactState>,
}

/// Which contacts a page shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Part of the address or the name; empty: any.
    pub search: String,
    /// In this state.
    pub state: Option<ContactState>,
    /// On this list; checked by the caller.
    pub list_id: Option<Uuid>,
}

/// Makes a contact in the caller's workspace.
///
/// # Errors
/// [`Error::Invalid`] names the field. [`Error::Conflict`]: the address is there already.
pub async fn create(connection: &mut PgConnection, scope: Scope, new: NewContact) -> Result<Contact> {
    let email = checked_email(&new.email)?;
    attributes::check_name(&new.name)?;
    attributes::check(&new.attributes)?;
    sqlx::query_as(
        "INSERT INTO contacts (id, workspace_id, email, name, attributes) VALUES ($1, $2, $3, $4, $5)
         RETURNING id, workspace_id, email, name, attributes, state, unsubscribed_at, created_at, updated_at",
    )
    .bind(Uuid::now_v7())
    .bind(scope.workspace_id)
    .bind(email.as_str())
    .bind(new.name)
    .bind(Json(new.attributes))
    .fetch_one(connection)
    .await
    .map_err(|error| taken(error, email.as_str()))
}

/// The contacts of `workspace_id` that pass the filter, newest first.
///
/// # Errors
/// The database failed.
pub async fn page(pool: &PgPool, workspace_id: Uuid, filter: &Filter, request: PageRequest) -> Result<Page<Contact>> {
    let mut count = QueryBuilder::new("SELECT count(*) FROM contacts c");
    narrow(&mut count, workspace_id, filter);
    let total = count.build_query_scalar().fetch_one(pool).await?;
    let mut rows = QueryBuilder::new(
        "SELECT c.id, c.workspace_id, c.email, c.name, c.attributes, c.state, c.unsubscribed_at, c.created_at, c.updated_at
         FROM contacts c",
    );
    narrow(&mut rows, workspace_id, filter);
    rows.push(" ORDER BY c.id DESC LIMIT ").push_bind(request.limit).push(" OFFSET ").push_bind(request.offset());
    Ok(Page::new(request, total, rows.build_query_as().fetch_all(pool).await?))
}

fn narrow(query: &mut QueryBuilder<Postgres>, workspace_id: Uuid, filter: &Filter) {
    query.push(" WHERE c.workspace_id = ").push_bind(workspace_id);
    if !filter.search.is_empty() {
        let search = filter.search.to_lowercase();
        query.push(" AND (position(").push_bind(search.clone()).push(" IN c.email) > 0 OR position(");
        query.push_bind(search).push(" IN lower(c.name)) > 0)");
    }
    if let Some(state) = filter.state {
        query.push(" AND c.state = ").push_bind(state.name());
    }
    if let Some(list_id) = filter.list_id {
        query.push(" AND EXISTS (SELECT 1 FROM list_members m WHERE m.contact_id = c.id AND m.list_id = ");
        query.push_bind(list_id).push(")");
    }
}

/// The contact `id`, for reading.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Forbidden`]: another workspace's.
pub async fn find(pool: &PgPool, scope: Scope, id: Uuid) -> Result<Contact> {
    let contact: Option<Contact> = sqlx::query_as(
        "SELECT id, workspace_id, email, name, attributes, state, unsubscribed_at, created_at, updated_at
         FROM contacts WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(pool)
    .await?;
    let contact = contact.ok_or_else(|| Error::not_found("contact", id))?;
    scope.may_read("contact", id, contact.workspace_id)?;
    Ok(contact)
}

/// Changes a contact. `now` is when it unsubscribed, if that is the change.
///
/// # Errors
/// [`Error::Invalid`] names the field. [`Error::Conflict`]: the address is there already. [`Error::NotFound`], [`Error::Forbidden`].
pub async fn change(connection: &mut PgConnection, scope: Scope, id: Uuid, change: Change, now: DateTime<Utc>) -> Result<Contact> {
    let email = change.email.as_deref().map(checked_email).transpose()?;
    if let Some(name) = &change.name {
        attributes::check_name(name)?;
    }
    if let Some(attributes) = &change.attributes {
        attributes::check(attributes)?;
    }
    hold(connection, scope, id).await?;
    let email = email.as_ref().map(Address::as_str);
    sqlx::query_as(
        "UPDATE contacts SET email = coalesce($2, email), name = coalesce($3, name), attributes = coalesce($4, attributes),
             state = coalesce($5, state),
             unsubscribed_at = CASE $5 WHEN 'unsubscribed' THEN coalesce(unsubscribed_at, $6) WHEN 'subscribed' THEN NULL
                                       ELSE unsubscribed_at END,
             updated_at = now()
         WHERE id = $1
         RETURNING id, workspace_id, email, name, attributes, state, unsubscribed_at, created_at, updated_at",
    )
    .bind(id)
    .bind(email)
    .bind(change.name)
    .bind(change.attributes.map(Json))
    .bind(change.state.map(ContactState::name))
    .bind(now)
    .fetch_one(connection)
    .await
    .map_err(|error| taken(error, email.unwrap_or_default()))
}

/// Removes a contact from its workspace and its lists. What was sent to it stays in the ledger.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Forbidden`]: another workspace's.
pub async fn delete(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<()> {
    hold(connection, scope, id).await?;
    sqlx::query("DELETE FROM contacts WHERE id = $1").bind(id).execute(connection).await?;
    Ok(())
}

/// Holds the contact until the transaction ends, if it is still what a change expects; asks nothing where any will do.
///
/// # Errors
/// [`Error::Outdated`], [`Error::NotFound`], [`Error::Forbidden`].
pub async fn expect(connection: &mut PgConnection, scope: Scope, id: Uuid, expected: &Expected) -> Result<()> {
    if *expected == Expected::Any {
        return Ok(());
    }
    hold(connection, scope, id).await?;
    let updated_at = sqlx::query_scalar("SELECT updated_at FROM contacts WHERE id = $1").bind(id).fetch_one(connection).await?;
    expected.check("contact", id, updated_at)
}

async fn hold(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<()> {
    let owner: Option<Uuid> = sqlx::query_scalar("SELECT workspace_id FROM contacts WHERE id = $1 FOR UPDATE")
        .bind(id)
        .fetch_optional(connection)
        .await?;
    scope.may_change("contact", id, owner.ok_or_else(|| Error::not_found("contact", id))?)
}

fn checked_email(email: &str) -> Result<Address> {
    Address::parse_recipient(email.trim_matches(' ')).map_err(|reason| Error::invalid("email", format!("{email:?} {reason}")))
}

fn taken(error: sqlx::Error, email: &str) -> Error {
    match Error::constraint(&error) {
        Some("contacts_email_key") => Error::Conflict(format!("a contact with the e-mail {email} exists already")),
        _ => error.into(),
    }
}
