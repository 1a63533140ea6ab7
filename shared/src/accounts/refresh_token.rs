//! The noun: a refresh token. It is good once; the table knows its SHA-256 alone.

use aws_lc_rs::{digest, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::error::{Error, Result};

fn fingerprint(token: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, token.as_bytes()).as_ref().to_vec()
}

/// Makes a token of 32 random bytes for the user and forgets the user's expired ones.
///
/// # Errors
/// The database failed.
pub async fn create(connection: &mut PgConnection, user_id: Uuid, now: DateTime<Utc>, expires_at: DateTime<Utc>) -> Result<String> {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes).map_err(Error::internal)?;
    let token = URL_SAFE_NO_PAD.encode(bytes);
    sqlx::query("DELETE FROM refresh_tokens WHERE user_id = $1 AND expires_at <= $2")
        .bind(user_id)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    sqlx::query("INSERT INTO refresh_tokens (id, user_id, token_hash, expires_at) VALUES ($1, $2, $3, $4)")
        .bind(Uuid::now_v7())
        .bind(user_id)
        .bind(fingerprint(&token))
        .bind(expires_at)
        .execute(connection)
        .await?;
    Ok(token)
}

/// What became of a token that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// It was good, and no longer is.
    Good(Uuid),
    /// It had been used before: someone has a copy.
    UsedBefore(Uuid),
    /// Never issued, or expired.
    Unknown,
}

/// Uses a token up.
///
/// # Errors
/// The database failed.
pub async fn spend(connection: &mut PgConnection, token: &str, now: DateTime<Utc>) -> Result<Spent> {
    let hash = fingerprint(token);
    let good = sqlx::query_scalar(
        "UPDATE refresh_tokens SET used_at = $2, updated_at = now()
         WHERE token_hash = $1 AND used_at IS NULL AND expires_at > $2 RETURNING user_id",
    )
    .bind(&hash)
    .bind(now)
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(user_id) = good {
        return Ok(Spent::Good(user_id));
    }
    let used = sqlx::query_scalar("SELECT user_id FROM refresh_tokens WHERE token_hash = $1 AND used_at IS NOT NULL")
        .bind(&hash)
        .fetch_optional(connection)
        .await?;
    Ok(used.map_or(Spent::Unknown, Spent::UsedBefore))
}

/// Uses up every token of the user; answers how many were still good.
///
/// # Errors
/// The database failed.
pub async fn revoke_all(connection: &mut PgConnection, user_id: Uuid, now: DateTime<Utc>) -> Result<u64> {
    let revoked = sqlx::query("UPDATE refresh_tokens SET used_at = $2, updated_at = now() WHERE user_id = $1 AND used_at IS NULL")
        .bind(user_id)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(revoked.rows_affected())
}

/// Forgets tokens that are past their time. Used ones are kept until then: their reuse is how theft is noticed. Answers how many.
///
/// # Errors
/// The database failed.
pub async fn prune(pool: &PgPool, now: DateTime<Utc>) -> Result<u64> {
    Ok(sqlx::query("DELETE FROM refresh_tokens WHERE expires_at < $1").bind(now).execute(pool).await?.rows_affected())
}
