//! The table of wrong passwords: who tried too often waits. It counts accounts that do not exist as well, so that its answer tells
//! nobody which do.

use aws_lc_rs::digest;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};

use crate::error::{Error, Result};

/// Wrong passwords that an account takes in a window.
const MOST: i32 = 10;
const WINDOW: TimeDelta = TimeDelta::minutes(15);

fn account(email: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, email.as_bytes()).as_ref().to_vec()
}

/// Counts a try as wrong before it is looked at: of a hundred that come at once, no more than the limit reach the password.
/// [`forget`] takes it back where it was right.
///
/// # Errors
/// [`Error::TooOften`] until the window is over, for the right password too.
pub async fn count(pool: &PgPool, email: &str, now: DateTime<Utc>) -> Result<()> {
    let (failures, ends_at): (i32, DateTime<Utc>) = sqlx::query_as(
        "INSERT INTO login_failures AS f (account, failures, window_ends_at) VALUES ($1, 1, $3)
         ON CONFLICT (account) DO UPDATE SET
             failures = CASE WHEN f.window_ends_at <= $2 THEN 1 ELSE least(f.failures + 1, $4) END,
             window_ends_at = CASE WHEN f.window_ends_at <= $2 THEN $3 ELSE f.window_ends_at END,
             updated_at = now()
         RETURNING failures, window_ends_at",
    )
    .bind(account(email))
    .bind(now)
    .bind(now + WINDOW)
    .bind(MOST + 1)
    .fetch_one(pool)
    .await?;
    if failures <= MOST {
        return Ok(());
    }
    let seconds = u64::try_from((ends_at - now).num_seconds()).unwrap_or(0) + 1;
    Err(Error::TooOften {
        reason: format!("the password was wrong {MOST} times for this account; try again in {} min", seconds.div_ceil(60)),
        retry_after_seconds: seconds,
    })
}

/// The right password, or a new one: the account starts from nothing.
///
/// # Errors
/// The database failed.
pub async fn forget(connection: &mut PgConnection, email: &str) -> Result<()> {
    sqlx::query("DELETE FROM login_failures WHERE account = $1").bind(account(email)).execute(connection).await?;
    Ok(())
}

/// Forgets windows that are over. Answers how many.
///
/// # Errors
/// The database failed.
pub async fn prune(pool: &PgPool, now: DateTime<Utc>) -> Result<u64> {
    Ok(sqlx::query("DELETE FROM login_failures WHERE window_ends_at < $1").bind(now).execute(pool).await?.rows_affected())
}
