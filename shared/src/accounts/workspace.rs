//! The noun: a workspace, the tenant.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use super::scope::Scope;
use crate::{
    database,
    error::{Error, Result},
    page::{Page, PageRequest},
    version::Expected,
};

/// A row of `workspaces`.
#[derive(Clone, Debug, FromRow)]
pub struct Workspace {
    /// Its id.
    pub id: Uuid,
    /// For people; need not be unique.
    pub name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was changed.
    pub updated_at: DateTime<Utc>,
}

/// Makes a workspace.
///
/// # Errors
/// [`Error::Invalid`]: the name has not 1 to 200 characters.
pub async fn create(connection: &mut PgConnection, name: &str) -> Result<Workspace> {
    let name = checked_name("name", name)?;
    let created = sqlx::query_as("INSERT INTO workspaces (id, name) VALUES ($1, $2) RETURNING id, name, created_at, updated_at")
        .bind(Uuid::now_v7())
        .bind(name)
        .fetch_one(connection)
        .await?;
    Ok(created)
}

/// The workspace `id`.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn find(executor: impl sqlx::PgExecutor<'_>, id: Uuid) -> Result<Workspace> {
    sqlx::query_as("SELECT id, name, created_at, updated_at FROM workspaces WHERE id = $1")
        .bind(id)
        .fetch_optional(executor)
        .await?
        .ok_or_else(|| Error::not_found("workspace", id))
}

/// The workspace `id` for whoever may see it.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Forbidden`]: it is not the caller's.
pub async fn visible(pool: &PgPool, scope: Scope, id: Uuid) -> Result<Workspace> {
    let workspace = find(pool, id).await?;
    scope.may_read("workspace", id, id)?;
    Ok(workspace)
}

/// Workspaces whose names hold `search`, newest first.
///
/// # Errors
/// The database failed.
pub async fn page(pool: &PgPool, search: &str, request: PageRequest) -> Result<Page<Workspace>> {
    let total = sqlx::query_scalar("SELECT count(*) FROM workspaces WHERE position(lower($1) in lower(name)) > 0")
        .bind(search)
        .fetch_one(pool)
        .await?;
    let rows = sqlx::query_as(
        "SELECT id, name, created_at, updated_at FROM workspaces WHERE position(lower($1) in lower(name)) > 0
         ORDER BY id DESC LIMIT $2 OFFSET $3",
    )
    .bind(search)
    .bind(request.limit)
    .bind(request.offset())
    .fetch_all(pool)
    .await?;
    Ok(Page::new(request, total, rows))
}

/// Gives the workspace another name.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`]; [`Error::Invalid`]: the name has not 1 to 200 characters; [`Error::Outdated`]: it is not what
/// was expected.
pub async fn rename(pool: &PgPool, scope: Scope, id: Uuid, expected: &Expected, name: &str) -> Result<Workspace> {
    let mut transaction = database::begin(pool).await?;
    lock(&mut transaction, id).await?;
    let found = find(&mut *transaction, id).await?;
    scope.may_change("workspace", id, id)?;
    expected.check("workspace", id, found.updated_at)?;
    let renamed = sqlx::query_as(
        "UPDATE workspaces SET name = $2, updated_at = now() WHERE id = $1 RETURNING id, name, created_at, updated_at",
    )
    .bind(id)
    .bind(checked_name("name", name)?)
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(renamed)
}

/// Locks the workspace's row: who changes its owners does so one after the other.
///
/// # Errors
/// The database failed.
pub(super) async fn lock(connection: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query("SELECT 1 FROM workspaces WHERE id = $1 FOR NO KEY UPDATE").bind(id).execute(connection).await?;
    Ok(())
}

pub(super) fn checked_name<'a>(field: &'static str, name: &'a str) -> Result<&'a str> {
    let name = name.trim();
    let characters = name.chars().count();
    if !(1..=200).contains(&characters) {
        return Err(Error::invalid(field, format!("must have 1 to 200 characters, not {characters}")));
    }
    Ok(name)
}
