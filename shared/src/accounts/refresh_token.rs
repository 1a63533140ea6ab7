//! The noun: a refresh token of a session. It is good once; the table knows its SHA-256 alone.

use aws_lc_rs::{digest, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::error::{Error, Result};

/// How long a used token is answered with its successor again: the answer may have been lost, or two tabs have asked at once. After
/// that, whoever shows it has a copy.
pub const GRACE: TimeDelta = TimeDelta::seconds(10);

fn fingerprint(token: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, token.as_bytes()).as_ref().to_vec()
}

/// 32 random bytes: the first token of a session.
///
/// # Errors
/// The system has no randomness to give.
pub fn random() -> Result<String> {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes).map_err(Error::internal)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Stores a token of a session.
///
/// # Errors
/// The database failed.
pub async fn store(
    connection: &mut PgConnection,
    token: &str,
    user_id: Uuid,
    session_id: Uuid,
    expires_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query("INSERT INTO refresh_tokens (id, user_id, session_id, token_hash, expires_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(Uuid::now_v7())
        .bind(user_id)
        .bind(session_id)
        .bind(fingerprint(token))
        .bind(expires_at)
        .execute(connection)
        .await?;
    Ok(())
}

/// What a token that was shown is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// It was good, and is used up now.
    Good {
        /// Whose it is.
        user_id: Uuid,
        /// The session that it continues.
        session_id: Uuid,
    },
    /// It was used a moment ago.
    JustUsed {
        /// Whose it is.
        user_id: Uuid,
        /// The session that it continued.
        session_id: Uuid,
    },
    /// It was used before that: someone has a copy.
    Copied {
        /// Whose it is.
        user_id: Uuid,
        /// The session that is not safe any more.
        session_id: Uuid,
    },
    /// Never issued, expired, of a session that is over or of a user who is disabled.
    Refused,
}

/// Uses a token up. Its row is locked until the transaction ends, so that of two who show it one is the first.
///
/// # Errors
/// The database failed.
pub async fn show(connection: &mut PgConnection, token: &str, now: DateTime<Utc>) -> Result<Shown> {
    let hash = fingerprint(token);
    let row: Option<(Uuid, Uuid, Option<DateTime<Utc>>)> = sqlx::query_as(
        "SELECT t.user_id, t.session_id, t.used_at FROM refresh_tokens t
         JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = t.user_id
         WHERE t.token_hash = $1 AND t.expires_at > $2 AND s.revoked_at IS NULL AND u.disabled_at IS NULL FOR UPDATE OF t",
    )
    .bind(&hash)
    .bind(now)
    .fetch_optional(&mut *connection)
    .await?;
    let Some((user_id, session_id, used_at)) = row else { return Ok(Shown::Refused) };
    match used_at {
        Some(used_at) if now - used_at <= GRACE => return Ok(Shown::JustUsed { user_id, session_id }),
        Some(_) => return Ok(Shown::Copied { user_id, session_id }),
        None => {}
    }
    sqlx::query("UPDATE refresh_tokens SET used_at = $2, updated_at = now() WHERE token_hash = $1")
        .bind(&hash)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(Shown::Good { user_id, session_id })
}

/// Whether this token belongs to the session.
///
/// # Errors
/// The database failed.
pub async fn is_of(connection: &mut PgConnection, token: &str, session_id: Uuid) -> Result<bool> {
    let known = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM refresh_tokens WHERE token_hash = $1 AND session_id = $2)")
        .bind(fingerprint(token))
        .bind(session_id)
        .fetch_one(connection)
        .await?;
    Ok(known)
}

/// Forgets tokens that are past their time. Used ones are kept until then: their reuse is how theft is noticed. Answers how many.
///
/// # Errors
/// The database failed.
pub async fn prune(pool: &PgPool, now: DateTime<Utc>) -> Result<u64> {
    Ok(sqlx::query("DELETE FROM refresh_tokens WHERE expires_at < $1").bind(now).execute(pool).await?.rows_affected())
}
