//! The noun: a session, one log-in and everything that was refreshed from it. Whoever calls is looked up here.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use super::{level::Level, user::Role};
use crate::{
    error::{Error, Result},
    gathering::Gathering,
    page::{Page, PageRequest},
};

/// From where somebody logs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// As the client calls itself; the first 300 characters are kept.
    pub user_agent: String,
    /// The client's address, if it is known.
    pub ip: String,
}

impl Device {
    fn shortened(&self) -> (String, String) {
        let cut = |text: &str, most| text.chars().filter(|c| !c.is_control()).take(most).collect();
        (cut(&self.user_agent, 300), cut(&self.ip, 45))
    }
}

/// A session as its user sees it.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0007_members.sql")]
pub struct Listed {
    pub id: Uuid,
    pub user_agent: String,
    pub ip: String,
    pub last_used_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
}

/// Opens a session.
///
/// # Errors
/// The database failed.
pub async fn create(
    connection: &mut PgConnection,
    user_id: Uuid,
    device: &Device,
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Result<Uuid> {
    let id = Uuid::now_v7();
    let (user_agent, ip) = device.shortened();
    sqlx::query(
        "INSERT INTO sessions (id, user_id, user_agent, ip, last_used_at, expires_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $5)",
    )
    .bind(id)
    .bind(user_id)
    .bind(user_agent)
    .bind(ip)
    .bind(now)
    .bind(expires_at)
    .execute(connection)
    .await?;
    Ok(id)
}

/// Notes that it was refreshed.
///
/// # Errors
/// The database failed.
pub async fn touch(
    connection: &mut PgConnection,
    id: Uuid,
    device: &Device,
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Result<()> {
    let (user_agent, ip) = device.shortened();
    sqlx::query(
        "UPDATE sessions SET user_agent = $2, ip = $3, last_used_at = $4, expires_at = $5, updated_at = now() WHERE id = $1",
    )
    .bind(id)
    .bind(user_agent)
    .bind(ip)
    .bind(now)
    .bind(expires_at)
    .execute(connection)
    .await?;
    Ok(())
}

/// Who a session says is calling.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in the migrations 0001 and 0007")]
pub struct Standing {
    pub user_id: Uuid,
    pub session_id: Uuid,
    pub workspace_id: Uuid,
    pub workspace_name: String,
    pub email: String,
    pub name: String,
    #[sqlx(try_from = "String")]
    pub role: Role,
    #[sqlx(try_from = "String")]
    pub level: Level,
    pub email_verified_at: Option<DateTime<Utc>>,
    /// The user's.
    pub updated_at: DateTime<Utc>,
}

/// Who is calling, by session.
pub type Callers = Gathering<Uuid, Standing>;

/// User and workspace of each session that is not revoked and whose user is not disabled. Every request asks this, and those of the same
/// moment together: one round trip, three primary keys.
#[must_use]
pub fn callers(pool: &PgPool) -> Callers {
    let pool = pool.clone();
    Gathering::new(move |ids| {
        let pool = pool.clone();
        Box::pin(async move {
            let standings = standings(&pool, &ids).await?;
            Ok(standings.into_iter().map(|standing| (standing.session_id, standing)).collect())
        })
    })
}

async fn standings(pool: &PgPool, ids: &[Uuid]) -> Result<Vec<Standing>> {
    let rows = sqlx::query_as(
        "SELECT u.id AS user_id, s.id AS session_id, u.workspace_id, w.name AS workspace_name, u.email, u.name, u.role, u.level,
                u.email_verified_at, u.updated_at
         FROM sessions s JOIN users u ON u.id = s.user_id JOIN workspaces w ON w.id = u.workspace_id
         WHERE s.id = ANY($1) AND s.revoked_at IS NULL AND u.disabled_at IS NULL",
    )
    .bind(ids)
    .fetch_all(pool)
    .await?;
    Ok(rows)
}

/// The user's open sessions, newest first.
///
/// # Errors
/// The database failed.
pub async fn page(pool: &PgPool, user_id: Uuid, now: DateTime<Utc>, request: PageRequest) -> Result<Page<Listed>> {
    let total = sqlx::query_scalar("SELECT count(*) FROM sessions WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2")
        .bind(user_id)
        .bind(now)
        .fetch_one(pool)
        .await?;
    let rows = sqlx::query_as(
        "SELECT id, user_agent, ip, last_used_at, expires_at, created_at FROM sessions
         WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 ORDER BY id DESC LIMIT $3 OFFSET $4",
    )
    .bind(user_id)
    .bind(now)
    .bind(request.limit)
    .bind(request.offset())
    .fetch_all(pool)
    .await?;
    Ok(Page::new(request, total, rows))
}

/// Ends one of the user's sessions; a second time changes nothing.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Forbidden`]: it is somebody else's.
pub async fn revoke(connection: &mut PgConnection, user_id: Uuid, id: Uuid, now: DateTime<Utc>) -> Result<()> {
    let owner: Option<Uuid> =
        sqlx::query_scalar("SELECT user_id FROM sessions WHERE id = $1").bind(id).fetch_optional(&mut *connection).await?;
    match owner {
        None => Err(Error::not_found("session", id)),
        Some(owner) if owner != user_id => Err(Error::Forbidden(format!("session {id} is somebody else's"))),
        Some(_) => end(connection, id, now).await,
    }
}

/// Ends a session whoever it belongs to.
///
/// # Errors
/// The database failed.
pub(super) async fn end(connection: &mut PgConnection, id: Uuid, now: DateTime<Utc>) -> Result<()> {
    sqlx::query("UPDATE sessions SET revoked_at = $2, updated_at = now() WHERE id = $1 AND revoked_at IS NULL")
        .bind(id)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

/// Ends the user's sessions, but for the one to keep. Answers how many.
///
/// # Errors
/// The database failed.
pub async fn revoke_all(connection: &mut PgConnection, user_id: Uuid, but: Option<Uuid>, now: DateTime<Utc>) -> Result<u64> {
    let revoked = sqlx::query(
        "UPDATE sessions SET revoked_at = $3, updated_at = now()
         WHERE user_id = $1 AND id IS DISTINCT FROM $2 AND revoked_at IS NULL",
    )
    .bind(user_id)
    .bind(but)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(revoked.rows_affected())
}

/// Forgets sessions that nobody can continue any more. Answers how many.
///
/// # Errors
/// The database failed.
pub async fn prune(pool: &PgPool, now: DateTime<Utc>) -> Result<u64> {
    // An access token may outlive the last refresh token by its own lifetime, if that is set to be longer.
    let before = now - chrono::TimeDelta::days(1);
    Ok(sqlx::query("DELETE FROM sessions WHERE expires_at < $1").bind(before).execute(pool).await?.rows_affected())
}
