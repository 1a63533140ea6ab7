//! The noun: a user, who logs in by e-mail and password and works in one workspace.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{level::Level, scope::Scope};
use crate::{
    error::{Error, Result},
    page::{Page, PageRequest},
};

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything, everywhere.
    Admin,
    /// Its own workspace, there what its [`Level`] says.
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

impl TryFrom<String> for Role {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

/// A row of `users` with its workspace's name.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in the migrations 0001 and 0007")]
pub struct User {
    pub id: Uuid,
    pub workspace_id: Uuid,
    pub workspace_name: String,
    pub email: String,
    pub name: String,
    pub password_hash: String,
    #[sqlx(try_from = "String")]
    pub role: Role,
    #[sqlx(try_from = "String")]
    pub level: Level,
    pub email_verified_at: Option<DateTime<Utc>>,
    pub disabled_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

const SELECT: &str = "SELECT u.id, u.workspace_id, w.name AS workspace_name, u.email, u.name, u.password_hash, u.role, u.level,
        u.email_verified_at, u.disabled_at, u.created_at, u.updated_at
    FROM users u JOIN workspaces w ON w.id = u.workspace_id";

/// A user to be made.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Where the user works.
    pub workspace_id: Uuid,
    /// Lower case; checked by the caller.
    pub email: String,
    /// For people; at most 200 characters, checked by the caller.
    pub name: String,
    /// argon2id in PHC string format, see [`super::password`].
    pub password_hash: String,
    /// Whether the user may do everything.
    pub role: Role,
    /// What the user may do in the workspace.
    pub level: Level,
    /// When the address was shown to reach the user.
    pub email_verified_at: Option<DateTime<Utc>>,
}

/// Makes a user and answers its id.
///
/// # Errors
/// [`Error::Conflict`]: the address is taken. [`Error::NotFound`]: the workspace does not exist.
pub async fn create(connection: &mut PgConnection, new: NewUser) -> Result<Uuid> {
    let id = Uuid::now_v7();
    let inserted = sqlx::query(
        "INSERT INTO users (id, workspace_id, email, name, password_hash, role, level, email_verified_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(id)
    .bind(new.workspace_id)
    .bind(&new.email)
    .bind(&new.name)
    .bind(&new.password_hash)
    .bind(new.role.name())
    .bind(new.level.name())
    .bind(new.email_verified_at)
    .execute(connection)
    .await;
    match inserted {
        Ok(_) => Ok(id),
        Err(error) => Err(match Error::constraint(&error) {
            Some("users_workspace_id_fkey") => Error::not_found("workspace", new.workspace_id),
            _ => taken(error, &new.email),
        }),
    }
}

fn taken(error: sqlx::Error, email: &str) -> Error {
    match Error::constraint(&error) {
        Some("users_email_key") => Error::Conflict(format!("a user with the e-mail {email} exists already")),
        _ => error.into(),
    }
}

async fn one<'a, V>(executor: impl sqlx::PgExecutor<'_>, narrowing: &str, value: V) -> Result<Option<User>>
where
    V: sqlx::Encode<'a, Postgres> + sqlx::Type<Postgres> + 'a,
{
    let mut query = QueryBuilder::new(SELECT);
    query.push(narrowing).push_bind(value);
    Ok(query.build_query_as().fetch_optional(executor).await?)
}

/// The user `id`, if there is one.
///
/// # Errors
/// The database failed.
pub async fn find(executor: impl sqlx::PgExecutor<'_>, id: Uuid) -> Result<Option<User>> {
    one(executor, " WHERE u.id = ", id).await
}

/// The user who logs in as `email` (lower case), if there is one.
///
/// # Errors
/// The database failed.
pub async fn find_by_email(executor: impl sqlx::PgExecutor<'_>, email: &str) -> Result<Option<User>> {
    one(executor, " WHERE u.email = ", email.to_owned()).await
}

/// The user `id` for whoever may see it.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Forbidden`]: it works in another workspace.
pub async fn visible(executor: impl sqlx::PgExecutor<'_>, scope: Scope, id: Uuid) -> Result<User> {
    let user = find(executor, id).await?.ok_or_else(|| Error::not_found("user", id))?;
    scope.may_read("user", id, user.workspace_id)?;
    Ok(user)
}

/// Which users a page shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this workspace; absent: of all, which is for admins.
    pub workspace_id: Option<Uuid>,
    /// Part of the address or of the name.
    pub search: String,
}

/// The users that pass the filter, newest first.
///
/// # Errors
/// The database failed.
pub async fn page(pool: &PgPool, filter: &Filter, request: PageRequest) -> Result<Page<User>> {
    let narrow = |query: &mut QueryBuilder<Postgres>| {
        query.push(" WHERE true");
        if let Some(workspace_id) = filter.workspace_id {
            query.push(" AND u.workspace_id = ").push_bind(workspace_id);
        }
        if !filter.search.is_empty() {
            query.push(" AND position(lower(").push_bind(filter.search.clone()).push(") in lower(u.email || ' ' || u.name)) > 0");
        }
    };
    let mut count = QueryBuilder::new("SELECT count(*) FROM users u");
    narrow(&mut count);
    let total = count.build_query_scalar().fetch_one(pool).await?;
    let mut rows = QueryBuilder::new(SELECT);
    narrow(&mut rows);
    rows.push(" ORDER BY u.id DESC LIMIT ").push_bind(request.limit).push(" OFFSET ").push_bind(request.offset());
    Ok(Page::new(request, total, rows.build_query_as().fetch_all(pool).await?))
}

/// Whether the user still has this password and is not disabled; the row is locked, so that it stays so until the transaction ends.
///
/// # Errors
/// The database failed.
pub async fn still_has(connection: &mut PgConnection, id: Uuid, password_hash: &str) -> Result<bool> {
    let held: Option<Uuid> =
        sqlx::query_scalar("SELECT id FROM users WHERE id = $1 AND password_hash = $2 AND disabled_at IS NULL FOR NO KEY UPDATE")
            .bind(id)
            .bind(password_hash)
            .fetch_optional(connection)
            .await?;
    Ok(held.is_some())
}

/// Locks the user's row: what is read after this stays so until the transaction ends.
///
/// # Errors
/// The database failed.
pub(super) async fn lock(connection: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query("SELECT 1 FROM users WHERE id = $1 FOR NO KEY UPDATE").bind(id).execute(connection).await?;
    Ok(())
}

/// Gives the user another password. Its sessions are the caller's business.
///
/// # Errors
/// The database failed.
pub async fn set_password(connection: &mut PgConnection, id: Uuid, password_hash: &str) -> Result<()> {
    sqlx::query("UPDATE users SET password_hash = $2, updated_at = now() WHERE id = $1")
        .bind(id)
        .bind(password_hash)
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes that mail to this address reaches the user; answers whether that was news. Whoever has another address by now is not meant.
///
/// # Errors
/// The database failed.
pub async fn verify_email(connection: &mut PgConnection, id: Uuid, email: &str, now: DateTime<Utc>) -> Result<bool> {
    let verified = sqlx::query(
        "UPDATE users SET email_verified_at = $3, updated_at = now() WHERE id = $1 AND email = $2 AND email_verified_at IS NULL",
    )
    .bind(id)
    .bind(email)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(verified.rows_affected() == 1)
}

/// What is to change; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// For people.
    pub name: Option<String>,
    /// Lower case; checked by the caller. A new one is not verified.
    pub email: Option<String>,
    /// What the user may do.
    pub level: Option<Level>,
}

/// Checks a name for people.
///
/// # Errors
/// [`Error::Invalid`]: longer than 200 characters, or with control characters.
pub fn checked_name(name: &str) -> Result<String> {
    let name = name.trim();
    let characters = name.chars().count();
    if characters > 200 {
        return Err(Error::invalid("name", format!("must have 200 characters at most, not {characters}")));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::invalid("name", format!("holds a control character: {}", name.escape_debug())));
    }
    Ok(name.to_owned())
}

/// Changes the user and answers it as it is then.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Conflict`]: the address is taken.
pub(super) async fn update(connection: &mut PgConnection, id: Uuid, change: Change) -> Result<User> {
    let email = change.email.clone().unwrap_or_default();
    let updated = sqlx::query(
        "UPDATE users SET name = coalesce($2, name), level = coalesce($4, level), email = coalesce($3, email),
             email_verified_at = CASE WHEN coalesce($3, email) = email THEN email_verified_at END, updated_at = now()
         WHERE id = $1",
    )
    .bind(id)
    .bind(change.name)
    .bind(change.email)
    .bind(change.level.map(Level::name))
    .execute(&mut *connection)
    .await;
    updated.map_err(|error| taken(error, &email))?;
    find(connection, id).await?.ok_or_else(|| Error::not_found("user", id))
}

/// Disables the user, or enables it again; a second time changes nothing.
///
/// # Errors
/// The database failed.
pub(super) async fn set_disabled(connection: &mut PgConnection, id: Uuid, disabled_at: Option<DateTime<Utc>>) -> Result<()> {
    sqlx::query(
        "UPDATE users SET disabled_at = $2, updated_at = now() WHERE id = $1 AND (disabled_at IS NULL) = ($2::timestamptz IS NOT NULL)",
    )
    .bind(id)
    .bind(disabled_at)
    .execute(connection)
    .await?;
    Ok(())
}
