//! Verification without being asked: every night, and every hour while something is wrong. Spread, so that the domains of a house are not
//! all asked for at once.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::{check::Check, payload, sending_domain::State};
use crate::error::Result;

/// Domains that one call puts in line.
const SLICE: i64 = 100;
/// How often one is looked at that is as it should be; half of it at random is taken off.
const CALM: TimeDelta = TimeDelta::hours(24);
/// How often one is looked at that somebody is about to mend.
const UNEASY: TimeDelta = TimeDelta::hours(1);

/// When a domain is looked at again.
pub(super) fn next(state: State, checks: &[Check], now: DateTime<Utc>) -> DateTime<Utc> {
    let uneasy = state == State::Degraded || (state != State::Pending && checks.iter().any(|check| !check.answered));
    let longest = if uneasy { UNEASY } else { CALM };
    now + longest - longest * rand::random_range(0..=500) / 1000
}

/// Puts the verification of the domains that are due in line; several may try at once. Answers how many.
///
/// # Errors
/// The database failed.
pub async fn enqueue(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<usize> {
    #[derive(FromRow)]
    struct Due {
        id: Uuid,
        workspace_id: Uuid,
    }
    // It moves on even if no run ends well, so that it cannot be put in line again and again.
    let due: Vec<Due> = sqlx::query_as(
        "UPDATE sending_domains SET check_due_at = $2 WHERE id IN (
             SELECT id FROM sending_domains WHERE check_due_at <= $1 ORDER BY check_due_at LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED)
         RETURNING id, workspace_id",
    )
    .bind(now)
    .bind(now + UNEASY)
    .bind(SLICE)
    .fetch_all(&mut *connection)
    .await?;
    for domain in &due {
        payload::enqueue(connection, domain.workspace_id, domain.id).await?;
    }
    Ok(due.len())
}
