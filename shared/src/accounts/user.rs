//! The noun: a user, who logs in by e-mail and password and works in one workspace.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use crate::error::{Error, Result};

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything, everywhere.
    Admin,
    /// Its own workspace.
    Client,
}

impl Role {
    /// As in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Client => "client",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "admin" => Ok(Self::Admin),
            "client" => Ok(Self::Client),
            other => Err(Error::internal(format!("a user has the role {other:?}"))),
        }
    }
}

/// A row of `users` with its workspace's name.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns are described in migrations/0001_accounts.sql")]
pub struct User {
    pub id: Uuid,
    pub workspace_id: Uuid,
    pub workspace_name: String,
    pub email: String,
    pub password_hash: String,
    pub role: Role,
    pub disabled_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    workspace_id: Uuid,
    workspace_name: String,
    email: String,
    password_hash: String,
    role: String,
    disabled_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

impl TryFrom<Row> for User {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let Row { id, workspace_id, workspace_name, email, password_hash, role, disabled_at, created_at } = row;
        Ok(Self { id, workspace_id, workspace_name, email, password_hash, role: role.parse()?, disabled_at, created_at })
    }
}

/// A user to be made.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Where the user works.
    pub workspace_id: Uuid,
    /// Lower case; checked by the caller.
    pub email: String,
    /// argon2id in PHC string format, see [`super::password`].
    pub password_hash: String,
    /// What the user may do.
    pub role: Role,
}

/// Makes a user and answers its id.
///
/// # Errors
/// [`Error::Conflict`]: the address is taken. [`Error::NotFound`]: the workspace does not exist.
pub async fn create(connection: &mut PgConnection, new: NewUser) -> Result<Uuid> {
    let id = Uuid::now_v7();
    let inserted = sqlx::query("INSERT INTO users (id, workspace_id, email, password_hash, role) VALUES ($1, $2, $3, $4, $5)")
        .bind(id)
        .bind(new.workspace_id)
        .bind(&new.email)
        .bind(&new.password_hash)
        .bind(new.role.name())
        .execute(connection)
        .await;
    match inserted {
        Ok(_) => Ok(id),
        Err(error) => Err(match Error::constraint(&error) {
            Some("users_email_key") => Error::Conflict(format!("a user with the e-mail {} exists already", new.email)),
            Some("users_workspace_id_fkey") => Error::not_found("workspace", new.workspace_id),
            _ => error.into(),
        }),
    }
}

/// The user `id`, if there is one.
///
/// # Errors
/// The database failed.
pub async fn find(pool: &PgPool, id: Uuid) -> Result<Option<User>> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT u.id, u.workspace_id, w.name AS workspace_name, u.email, u.password_hash, u.role, u.disabled_at, u.created_at
         FROM users u JOIN workspaces w ON w.id = u.workspace_id WHERE u.id = $1",
    )
    .bind(id)
    .fetch_optional(pool)
    .await?;
    row.map(User::try_from).transpose()
}

/// The user who logs in as `email` (lower case), if there is one.
///
/// # Errors
/// The database failed.
pub async fn find_by_email(pool: &PgPool, email: &str) -> Result<Option<User>> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT u.id, u.workspace_id, w.name AS workspace_name, u.email, u.password_hash, u.role, u.disabled_at, u.created_at
         FROM users u JOIN workspaces w ON w.id = u.workspace_id WHERE u.email = $1",
    )
    .bind(email)
    .fetch_optional(pool)
    .await?;
    row.map(User::try_from).transpose()
}
