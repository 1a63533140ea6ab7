//! The noun: what stands behind a link in a mail. Good once, for a while, until a newer one takes its place. The token that the link
//! carries is the row's id, signed ([`crate::vault::Links::mail_token`]): api and worker can both make it, and the table opens nothing.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    vault::Links,
};

/// Mails of one purpose to one address in an hour.
const MOST_AN_HOUR: i64 = 5;

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To become a member; of this invitation.
    Invitation(Uuid),
    /// To show that the address is this user's.
    Verification(Uuid),
    /// To set a new password.
    Reset,
}

impl Purpose {
    /// As in the table, and in the signature.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invitation(_) => INVITATION,
            Self::Verification(_) => VERIFICATION,
            Self::Reset => RESET,
        }
    }

    fn lifetime(self) -> TimeDelta {
        match self {
            Self::Invitation(_) => TimeDelta::days(7),
            Self::Verification(_) => TimeDelta::hours(48),
            Self::Reset => TimeDelta::hours(1),
        }
    }
}

pub(super) const INVITATION: &str = "invitation";
pub(super) const VERIFICATION: &str = "verification";
pub(super) const RESET: &str = "reset";

/// A row that is good.
#[derive(Clone, Debug, FromRow)]
pub struct Good {
    /// Itself.
    pub id: Uuid,
    /// Where it was sent.
    pub email: String,
    /// Of a verification.
    pub user_id: Option<Uuid>,
    /// Of an invitation.
    pub invitation_id: Option<Uuid>,
}

/// Makes a token and answers its id; those before it for the same purpose are void. `None`: the address had enough of these mails for
/// this hour, and nothing is changed.
///
/// # Errors
/// The database failed.
pub(super) async fn create(
    connection: &mut PgConnection,
    purpose: Purpose,
    email: &str,
    now: DateTime<Utc>,
) -> Result<Option<Uuid>> {
    // Two at once: the later one voids the earlier, and the hour is counted right.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('mail token ' || $1 || ' ' || $2, 0))")
        .bind(purpose.name())
        .bind(email)
        .execute(&mut *connection)
        .await?;
    let recent: i64 = sqlx::query_scalar("SELECT count(*) FROM mail_tokens WHERE email = $1 AND purpose = $2 AND created_at > $3")
        .bind(email)
        .bind(purpose.name())
        .bind(now - TimeDelta::hours(1))
        .fetch_one(&mut *connection)
        .await?;
    if recent >= MOST_AN_HOUR {
        return Ok(None);
    }
    let (user_id, invitation_id) = match purpose {
        Purpose::Invitation(id) => (None, Some(id)),
        Purpose::Verification(id) => (Some(id), None),
        Purpose::Reset => (None, None),
    };
    sqlx::query(
        "UPDATE mail_tokens SET voided_at = $5, updated_at = now()
         WHERE email = $1 AND purpose = $2 AND user_id IS NOT DISTINCT FROM $3 AND invitation_id IS NOT DISTINCT FROM $4
           AND used_at IS NULL AND voided_at IS NULL",
    )
    .bind(email)
    .bind(purpose.name())
    .bind(user_id)
    .bind(invitation_id)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    let id = Uuid::now_v7();
    sqlx::query(
        "INSERT INTO mail_tokens (id, purpose, email, user_id, invitation_id, expires_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(id)
    .bind(purpose.name())
    .bind(email)
    .bind(user_id)
    .bind(invitation_id)
    .bind(now + purpose.lifetime())
    .bind(now)
    .execute(connection)
    .await?;
    Ok(Some(id))
}

/// What is answered where somebody is told that enough mails have gone.
pub(super) fn too_many(email: &str) -> Error {
    Error::TooOften {
        reason: format!("{MOST_AN_HOUR} such mails went to {email} within the hour; try again later"),
        retry_after_seconds: 3600,
    }
}

/// What is answered to every token that is not good, whatever is wrong with it.
pub(super) fn refused() -> Error {
    Error::invalid("token", "is not valid: it was cut, was used before, has expired, or a newer mail has taken its place")
}

/// The row of a token, if it is good; it stays good. For what is shown before somebody presses the button: mail scanners look too.
///
/// # Errors
/// [`Error::Invalid`]: it is not good.
pub(super) async fn look(
    connection: &mut PgConnection,
    links: &Links,
    purpose: &'static str,
    token: &str,
    now: DateTime<Utc>,
) -> Result<Good> {
    let id = links.read_mail_token(purpose, token).ok_or_else(refused)?;
    find(connection, purpose, id, now).await?.ok_or_else(refused)
}

/// The same by its id.
///
/// # Errors
/// The database failed.
pub(super) async fn find(
    connection: &mut PgConnection,
    purpose: &'static str,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<Good>> {
    let good = sqlx::query_as(
        "SELECT id, email, user_id, invitation_id FROM mail_tokens
         WHERE id = $1 AND purpose = $2 AND used_at IS NULL AND voided_at IS NULL AND expires_at > $3",
    )
    .bind(id)
    .bind(purpose)
    .bind(now)
    .fetch_optional(connection)
    .await?;
    Ok(good)
}

/// Uses a token up: of two who come with it, one gets the row.
///
/// # Errors
/// [`Error::Invalid`]: it is not good.
pub(super) async fn use_up(
    connection: &mut PgConnection,
    links: &Links,
    purpose: &'static str,
    token: &str,
    now: DateTime<Utc>,
) -> Result<Good> {
    let id = links.read_mail_token(purpose, token).ok_or_else(refused)?;
    let used = sqlx::query_as(
        "UPDATE mail_tokens SET used_at = $3, updated_at = now()
         WHERE id = $1 AND purpose = $2 AND used_at IS NULL AND voided_at IS NULL AND expires_at > $3
         RETURNING id, email, user_id, invitation_id",
    )
    .bind(id)
    .bind(purpose)
    .bind(now)
    .fetch_optional(connection)
    .await?;
    used.ok_or_else(refused)
}
