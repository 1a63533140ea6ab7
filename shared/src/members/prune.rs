//! Forgets what is over: links that have expired, sessions that nobody can continue, windows of wrong passwords.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use crate::{
    accounts::{login_failures, refresh_token, session},
    error::Result,
};

/// All of it. Answers how many rows.
///
/// # Errors
/// The database failed.
pub async fn expired(pool: &PgPool, now: DateTime<Utc>) -> Result<u64> {
    // Longer than the hour in which mails to an address are counted.
    let links = sqlx::query("DELETE FROM mail_tokens WHERE expires_at < $1 AND created_at < $1")
        .bind(now - TimeDelta::days(1))
        .execute(pool)
        .await?
        .rows_affected();
    let tokens = refresh_token::prune(pool, now).await?;
    let sessions = session::prune(pool, now).await?;
    Ok(links + tokens + sessions + login_failures::prune(pool, now).await?)
}
