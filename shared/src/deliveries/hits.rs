//! Replies that adaptive rules matched, and what a rule does when there are enough of them. All workers count together, and it acts once.

use sqlx::PgPool;

use super::shaping::adapt::Adaptive;
use crate::{database, error::Result};

/// Counts replies that matched a rule for this scope, and acts where they are enough. Answers whether it acted now.
///
/// One transaction, which holds the scope's row: of two workers that count at once the second one finds that the rule holds. While it holds
/// nothing is counted, and what led to it is forgotten, so that it does not follow upon itself.
///
/// # Errors
/// The database failed: nothing is counted.
pub async fn count(pool: &PgPool, scope: &str, rule: &Adaptive, hits: u32, last_reply: &str) -> Result<bool> {
    let action = &rule.action;
    let mut transaction = database::begin(pool).await?;
    sqlx::query("INSERT INTO destinations (domain) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(scope)
        .execute(&mut *transaction)
        .await?;
    // A stronger rule may act while a weaker one holds, and so does a suspension while a slow-down holds.
    let holds: bool = sqlx::query_scalar(
        "SELECT coalesce(rule = $2 AND greatest(hold_until, suspended_until, bounce_until) > now(), false)
         FROM destinations WHERE domain = $1 FOR UPDATE",
    )
    .bind(scope)
    .bind(&*rule.name)
    .fetch_one(&mut *transaction)
    .await?;
    if holds {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO shaping_hits AS h (scope, rule, minute, hits) VALUES ($1, $2, date_trunc('minute', now()), $3)
         ON CONFLICT (scope, rule, minute) DO UPDATE SET hits = h.hits + excluded.hits, updated_at = now()",
    )
    .bind(scope)
    .bind(&*rule.name)
    .bind(i64::from(hits))
    .execute(&mut *transaction)
    .await?;
    let within: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(hits), 0)::bigint FROM shaping_hits
         WHERE scope = $1 AND rule = $2 AND minute > now() - interval '1 hour'",
    )
    .bind(scope)
    .bind(&*rule.name)
    .fetch_one(&mut *transaction)
    .await?;
    let acts = within >= i64::from(rule.times_an_hour);
    if acts {
        sqlx::query("DELETE FROM shaping_hits WHERE scope = $1 AND rule = $2")
            .bind(scope)
            .bind(&*rule.name)
            .execute(&mut *transaction)
            .await?;
        // Where two rules hold the narrower values stay, and the later end.
        sqlx::query(
            "UPDATE destinations SET rule = $2, reason = 'rule ' || $2, last_reply = $3, slowed_at = now(), updated_at = now(),
                 hold_until = CASE WHEN $5::float8 IS NOT NULL OR $6::integer IS NOT NULL
                     THEN greatest(hold_until, now() + make_interval(secs => $4)) ELSE hold_until END,
                 adaptive_rate = least(adaptive_rate, $5),
                 adaptive_step = coalesce($5, adaptive_step), adaptive_from = coalesce(30 * $5, adaptive_from),
                 adaptive_connections = least(CASE WHEN hold_until > now() THEN adaptive_connections END, $6),
                 suspended_until = CASE WHEN $7 THEN greatest(suspended_until, now() + make_interval(secs => $4)) ELSE suspended_until END,
                 bounce_until = CASE WHEN $8 THEN greatest(bounce_until, now() + make_interval(secs => $4)) ELSE bounce_until END
             WHERE domain = $1",
        )
        .bind(scope)
        .bind(&*rule.name)
        .bind(last_reply)
        .bind(action.seconds)
        .bind(action.slow_to)
        .bind(action.connections.and_then(|limit| i32::try_from(limit).ok()))
        .bind(action.suspend)
        .bind(action.bounce)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(acts)
}

/// Forgets what is older than an hour.
///
/// # Errors
/// The database failed.
pub async fn prune(pool: &PgPool) -> Result<u64> {
    Ok(sqlx::query("DELETE FROM shaping_hits WHERE minute < now() - interval '2 hours'").execute(pool).await?.rows_affected())
}
