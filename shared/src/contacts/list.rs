//! The noun: a list of contacts.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    accounts::scope::Scope,
    error::{Error, Result},
    page::{Page, PageRequest},
    version::Expected,
};

/// A row of `lists` with the number of contacts on it.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0003_contacts.sql")]
pub struct List {
    pub id: Uuid,
    pub workspace_id: Uuid,
    pub name: String,
    pub contacts: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// Makes an empty list in the caller's workspace.
///
/// # Errors
/// [`Error::Invalid`]: the name. [`Error::Conflict`]: it is taken.
pub async fn create(connection: &mut PgConnection, scope: Scope, name: &str) -> Result<List> {
    let name = checked_name(name)?;
    sqlx::query_as(
        "INSERT INTO lists (id, workspace_id, name) VALUES ($1, $2, $3)
         RETURNING id, workspace_id, name, 0::bigint AS contacts, created_at, updated_at",
    )
    .bind(Uuid::now_v7())
    .bind(scope.workspace_id)
    .bind(name)
    .fetch_one(connection)
    .await
    .map_err(|error| taken(error, name))
}

/// The workspace's lists whose name holds `search`, newest first.
///
/// # Errors
/// The database failed.
pub async fn page(pool: &PgPool, scope: Scope, search: &str, request: PageRequest) -> Result<Page<List>> {
    let total = sqlx::query_scalar("SELECT count(*) FROM lists WHERE workspace_id = $1 AND position(lower($2) IN lower(name)) > 0")
        .bind(scope.workspace_id)
        .bind(search)
        .fetch_one(pool)
        .await?;
    let rows = sqlx::query_as(
        "SELECT l.id, l.workspace_id, l.name, (SELECT count(*) FROM list_members m WHERE m.list_id = l.id) AS contacts,
                l.created_at, l.updated_at
         FROM lists l WHERE l.workspace_id = $1 AND position(lower($2) IN lower(l.name)) > 0
         ORDER BY l.id DESC LIMIT $3 OFFSET $4",
    )
    .bind(scope.workspace_id)
    .bind(search)
    .bind(request.limit)
    .bind(request.offset())
    .fetch_all(pool)
    .await?;
    Ok(Page::new(request, total, rows))
}

/// The list `id`, for reading.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Forbidden`]: another workspace's.
pub async fn find(pool: &PgPool, scope: Scope, id: Uuid) -> Result<List> {
    let list: Option<List> = sqlx::query_as(
        "SELECT l.id, l.workspace_id, l.name, (SELECT count(*) FROM list_members m WHERE m.list_id = l.id) AS contacts,
                l.created_at, l.updated_at
         FROM lists l WHERE l.id = $1",
    )
    .bind(id)
    .fetch_optional(pool)
    .await?;
    let list = list.ok_or_else(|| Error::not_found("list", id))?;
    scope.may_read("list", id, list.workspace_id)?;
    Ok(list)
}

/// Holds the list until the transaction ends, for a change to it or to what is tied to it.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Forbidden`]: another workspace's.
pub async fn hold(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<()> {
    let owner: Option<Uuid> = sqlx::query_scalar("SELECT workspace_id FROM lists WHERE id = $1 FOR NO KEY UPDATE")
        .bind(id)
        .fetch_optional(connection)
        .await?;
    scope.may_change("list", id, owner.ok_or_else(|| Error::not_found("list", id))?)
}

/// Holds the list until the transaction ends, if it is still what a change expects; asks nothing where any will do.
///
/// # Errors
/// [`Error::Outdated`], [`Error::NotFound`], [`Error::Forbidden`].
pub async fn expect(connection: &mut PgConnection, scope: Scope, id: Uuid, expected: &Expected) -> Result<()> {
    if *expected == Expected::Any {
        return Ok(());
    }
    hold(connection, scope, id).await?;
    let updated_at = sqlx::query_scalar("SELECT updated_at FROM lists WHERE id = $1").bind(id).fetch_one(connection).await?;
    expected.check("list", id, updated_at)
}

/// Gives a list another name.
///
/// # Errors
/// [`Error::Invalid`]: the name. [`Error::Conflict`]: it is taken.
pub async fn rename(connection: &mut PgConnection, scope: Scope, id: Uuid, name: &str) -> Result<()> {
    let name = checked_name(name)?;
    hold(connection, scope, id).await?;
    sqlx::query("UPDATE lists SET name = $2, updated_at = now() WHERE id = $1")
        .bind(id)
        .bind(name)
        .execute(connection)
        .await
        .map_err(|error| taken(error, name))?;
    Ok(())
}

/// Removes a list; its contacts stay.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Forbidden`]: another workspace's.
pub async fn delete(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<()> {
    hold(connection, scope, id).await?;
    sqlx::query("DELETE FROM lists WHERE id = $1").bind(id).execute(connection).await?;
    Ok(())
}

fn checked_name(name: &str) -> Result<&str> {
    let name = name.trim();
    let characters = name.chars().count();
    if !(1..=200).contains(&characters) {
        return Err(Error::invalid("name", format!("must have 1 to 200 characters, not {characters}")));
    }
    Ok(name)
}

fn taken(error: sqlx::Error, name: &str) -> Error {
    match Error::constraint(&error) {
        Some("lists_name_key") => Error::Conflict(format!("a list with the name {name:?} exists already")),
        _ => error.into(),
    }
}
