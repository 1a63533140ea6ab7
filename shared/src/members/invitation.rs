//! The noun: an invitation into a workspace. It is open until it is accepted, revoked, or expired.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use super::{
    mail_token::{self, INVITATION, Purpose},
    payload::{self, AccountMail},
};
use crate::{
    accounts::{
        level::Level,
        member::Actor,
        password::Passwords,
        register::{self, Registration},
        scope::Scope,
        user::{self, Role, User},
    },
    address::Address,
    database,
    error::{Error, Result},
    page::{Page, PageRequest},
    settings::Mail,
    vault::Links,
};

const LIFETIME: TimeDelta = TimeDelta::days(7);

/// A row of `invitations` with the names that people know.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0007_members.sql")]
pub struct Invitation {
    pub id: Uuid,
    pub workspace_id: Uuid,
    pub workspace_name: String,
    pub email: String,
    #[sqlx(try_from = "String")]
    pub level: Level,
    /// Address of whoever invited.
    pub invited_by: String,
    pub expires_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
}

const SELECT: &str =
    "SELECT i.id, i.workspace_id, w.name AS workspace_name, i.email, i.level, u.email AS invited_by, i.expires_at, i.created_at
    FROM invitations i JOIN workspaces w ON w.id = i.workspace_id JOIN users u ON u.id = i.invited_by
    WHERE i.accepted_at IS NULL AND i.revoked_at IS NULL AND ";

async fn open(connection: &mut PgConnection, id: Uuid) -> Result<Option<Invitation>> {
    let sql = sqlx::AssertSqlSafe(format!("{SELECT} i.id = $1"));
    Ok(sqlx::query_as(sql).bind(id).fetch_optional(connection).await?)
}

/// Invites an address, and sends the mail.
///
/// # Errors
/// [`Error::Invalid`]; [`Error::Conflict`]: a user has the address, it is invited already, or there is no mail relay; [`Error::TooOften`].
pub async fn invite(pool: &PgPool, mail: &Mail, actor: Actor, email: &str, level: Level, now: DateTime<Utc>) -> Result<Invitation> {
    let address =
        Address::parse(email.trim_matches(' ')).map_err(|reason| Error::invalid("email", format!("{email:?} {reason}")))?;
    let email = address.as_str();
    mail.require()?;
    let mut transaction = database::begin(pool).await?;
    if user::find_by_email(&mut *transaction, email).await?.is_some() {
        return Err(Error::Conflict(format!("a user with the e-mail {email} exists already")));
    }
    sqlx::query(
        "UPDATE invitations SET revoked_at = $3, updated_at = now()
         WHERE workspace_id = $1 AND email = $2 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at <= $3",
    )
    .bind(actor.scope.workspace_id)
    .bind(email)
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    let id = Uuid::now_v7();
    let inserted = sqlx::query(
        "INSERT INTO invitations (id, workspace_id, email, level, invited_by, expires_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT DO NOTHING",
    )
    .bind(id)
    .bind(actor.scope.workspace_id)
    .bind(email)
    .bind(level.name())
    .bind(actor.user_id)
    .bind(now + LIFETIME)
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    if inserted.rows_affected() == 0 {
        return Err(Error::Conflict(format!("{email} is invited already: send the invitation again, or revoke it")));
    }
    send(&mut transaction, id, email, now).await?;
    let invitation = open(&mut transaction, id).await?.ok_or_else(|| Error::not_found("invitation", id))?;
    transaction.commit().await?;
    Ok(invitation)
}

async fn send(connection: &mut PgConnection, id: Uuid, email: &str, now: DateTime<Utc>) -> Result<()> {
    let created = mail_token::create(connection, Purpose::Invitation(id), email, now).await?;
    let token_id = created.ok_or_else(|| mail_token::too_many(email))?;
    payload::post(connection, AccountMail::Invitation, token_id).await
}

/// The workspace's open invitations, newest first.
///
/// # Errors
/// The database failed.
pub async fn page(pool: &PgPool, scope: Scope, request: PageRequest) -> Result<Page<Invitation>> {
    let total = sqlx::query_scalar(
        "SELECT count(*) FROM invitations WHERE workspace_id = $1 AND accepted_at IS NULL AND revoked_at IS NULL",
    )
    .bind(scope.workspace_id)
    .fetch_one(pool)
    .await?;
    let sql = sqlx::AssertSqlSafe(format!("{SELECT} i.workspace_id = $1 ORDER BY i.id DESC LIMIT $2 OFFSET $3"));
    let rows = sqlx::query_as(sql).bind(scope.workspace_id).bind(request.limit).bind(request.offset()).fetch_all(pool).await?;
    Ok(Page::new(request, total, rows))
}

/// The invitation, which the caller may change; its row is locked.
async fn hold(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<(String, bool)> {
    let row: Option<(Uuid, String, bool)> = sqlx::query_as(
        "SELECT workspace_id, email, accepted_at IS NULL AND revoked_at IS NULL FROM invitations WHERE id = $1 FOR NO KEY UPDATE",
    )
    .bind(id)
    .fetch_optional(connection)
    .await?;
    let (owner, email, is_open) = row.ok_or_else(|| Error::not_found("invitation", id))?;
    scope.may_change("invitation", id, owner)?;
    Ok((email, is_open))
}

/// Sends the mail again, with a link that is good for another week; the one before is void.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`]; [`Error::Conflict`]: it is accepted or revoked, or there is no mail relay;
/// [`Error::TooOften`].
pub async fn resend(pool: &PgPool, mail: &Mail, scope: Scope, id: Uuid, now: DateTime<Utc>) -> Result<Invitation> {
    let mut transaction = database::begin(pool).await?;
    let (email, is_open) = hold(&mut transaction, scope, id).await?;
    if !is_open {
        return Err(Error::Conflict(format!("the invitation {id} is accepted or revoked")));
    }
    mail.require()?;
    sqlx::query("UPDATE invitations SET expires_at = $2, updated_at = now() WHERE id = $1")
        .bind(id)
        .bind(now + LIFETIME)
        .execute(&mut *transaction)
        .await?;
    send(&mut transaction, id, &email, now).await?;
    let invitation = open(&mut transaction, id).await?.ok_or_else(|| Error::not_found("invitation", id))?;
    transaction.commit().await?;
    Ok(invitation)
}

/// Takes an invitation back: its link is void. A second time changes nothing.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`]; [`Error::Conflict`]: it is accepted.
pub async fn revoke(pool: &PgPool, scope: Scope, id: Uuid, now: DateTime<Utc>) -> Result<()> {
    let mut transaction = database::begin(pool).await?;
    hold(&mut transaction, scope, id).await?;
    let accepted: bool = sqlx::query_scalar(
        "UPDATE invitations SET revoked_at = CASE WHEN accepted_at IS NULL THEN coalesce(revoked_at, $2) END, updated_at = now()
         WHERE id = $1 RETURNING accepted_at IS NOT NULL",
    )
    .bind(id)
    .bind(now)
    .fetch_one(&mut *transaction)
    .await?;
    if accepted {
        return Err(Error::Conflict(format!("the invitation {id} is accepted")));
    }
    transaction.commit().await?;
    Ok(())
}

/// What a link invites into; nothing changes.
///
/// # Errors
/// [`Error::Invalid`]: the token is not good.
pub async fn look(pool: &PgPool, links: &Links, token: &str, now: DateTime<Utc>) -> Result<Invitation> {
    let mut connection = pool.acquire().await?;
    let good = mail_token::look(&mut connection, links, INVITATION, token, now).await?;
    by_token(&mut connection, &good).await?.ok_or_else(mail_token::refused)
}

/// The open invitation of a token.
pub(super) async fn by_token(connection: &mut PgConnection, good: &mail_token::Good) -> Result<Option<Invitation>> {
    match good.invitation_id {
        Some(id) => open(connection, id).await,
        None => Ok(None),
    }
}

/// Makes the invited a member. The link came by mail, so the address is verified. A password against the rules, or an address that
/// was taken meanwhile, leaves the token good.
///
/// # Errors
/// [`Error::Invalid`] names the token, the name or the password; [`Error::Conflict`]: a user has the address; [`Error::Busy`].
pub async fn accept(
    pool: &PgPool,
    links: &Links,
    passwords: &Passwords,
    token: &str,
    name: String,
    password: String,
    now: DateTime<Utc>,
) -> Result<User> {
    let invitation = look(pool, links, token, now).await?;
    let registration = Registration {
        email: invitation.email,
        name,
        password,
        role: Role::Client,
        level: invitation.level,
        workspace_id: Some(invitation.workspace_id),
        workspace_name: None,
    };
    let checked = registration.check(passwords).await?;
    let mut transaction = database::begin(pool).await?;
    mail_token::use_up(&mut transaction, links, INVITATION, token, now).await?;
    let accepted = sqlx::query(
        "UPDATE invitations SET accepted_at = $2, updated_at = now() WHERE id = $1 AND accepted_at IS NULL AND revoked_at IS NULL",
    )
    .bind(invitation.id)
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    if accepted.rows_affected() == 0 {
        return Err(mail_token::refused());
    }
    let user = register::insert(&mut transaction, checked, Some(now)).await?;
    payload::post(&mut transaction, AccountMail::Welcome, user.id).await?;
    transaction.commit().await?;
    Ok(user)
}
