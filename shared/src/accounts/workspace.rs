//! The noun: a workspace, the tenant.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use crate::error::{Error, Result};

/// A row of `workspaces`.
#[derive(Clone, Debug, FromRow)]
pub struct Workspace {
    /// Its id.
    pub id: Uuid,
    /// For people; need not be unique.
    pub name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Makes a workspace.
///
/// # Errors
/// [`Error::Invalid`]: the name has not 1 to 200 characters.
pub async fn create(connection: &mut PgConnection, name: &str) -> Result<Workspace> {
    let name = checked_name(name)?;
    let created = sqlx::query_as("INSERT INTO workspaces (id, name) VALUES ($1, $2) RETURNING id, name, created_at")
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
pub async fn find(pool: &PgPool, id: Uuid) -> Result<Workspace> {
    sqlx::query_as("SELECT id, name, created_at FROM workspaces WHERE id = $1")
        .bind(id)
        .fetch_optional(pool)
        .await?
        .ok_or_else(|| Error::not_found("workspace", id))
}

fn checked_name(name: &str) -> Result<&str> {
    let name = name.trim();
    let characters = name.chars().count();
    if !(1..=200).contains(&characters) {
        return Err(Error::invalid("name", format!("must have 1 to 200 characters, not {characters}")));
    }
    Ok(name)
}
