//! The noun: a destination, which is a recipient domain that has limits, is being slowed down or is suspended.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgPool};

use crate::{error::Result, settings::Slowdown};

/// What holds for a destination now. A domain without a row has no limits.
#[derive(Clone, Debug, FromRow, PartialEq)]
pub struct Destination {
    /// The domain, lower case.
    pub domain: String,
    /// An operator's limit.
    pub rate_per_second: Option<f64>,
    /// An operator's limit, over all workers.
    pub max_connections: Option<i32>,
    /// What the replies taught us.
    pub adaptive_rate: Option<f64>,
    /// Nothing starts before.
    pub cooldown_until: Option<DateTime<Utc>>,
    /// Nothing starts before; policy replies.
    pub suspended_until: Option<DateTime<Utc>>,
    /// Held back now, by the database's clock.
    pub held: bool,
}

impl Destination {
    /// Messages a second that may start, over all workers; `None`: no limit.
    #[must_use]
    pub fn allowed_rate(&self) -> Option<f64> {
        match (self.rate_per_second, self.adaptive_rate) {
            (Some(set), Some(learnt)) => Some(set.min(learnt)),
            (set, learnt) => set.or(learnt),
        }
    }
}

/// Every destination with a row, by domain.
///
/// # Errors
/// The database failed.
pub async fn all(pool: &PgPool) -> Result<HashMap<String, Destination>> {
    let rows: Vec<Destination> = sqlx::query_as(
        "SELECT domain, rate_per_second, max_connections, adaptive_rate, cooldown_until, suspended_until,
                coalesce(greatest(cooldown_until, suspended_until), '-infinity') > now() AS held
         FROM destinations",
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.domain.clone(), row)).collect())
}

/// What one process saw of a destination in one window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// 2xx.
    pub accepted: u32,
    /// 421, 450, 451, 452, 454, but not greylisting or a full mailbox.
    pub throttled: u32,
    /// Other temporary replies.
    pub deferred: u32,
    /// Permanent replies.
    pub failed: u32,
    /// Policy and reputation replies.
    pub policy: u32,
    /// The last reply that was not 2xx.
    pub last_reply: Option<String>,
}

/// What follows from a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Nothing.
    Stay,
    /// This many messages a second from now on, and a pause first.
    Slow(f64),
    /// This many messages a second from now on.
    Raise(f64),
    /// The limit that the replies taught us is gone.
    Release,
    /// Nothing for a long while.
    Suspend,
}

/// The rule: throttling replies cut the rate in half, windows without one raise it, policy replies suspend.
#[must_use]
pub fn judge(window: &Window, adaptive_rate: Option<f64>, settings: &Slowdown) -> Step {
    let replies = window.accepted + window.throttled + window.deferred + window.failed;
    if window.policy >= settings.suspend_after && f64::from(window.policy) >= settings.share * f64::from(replies) {
        return Step::Suspend;
    }
    #[expect(clippy::cast_precision_loss, reason = "a window is seconds")]
    let seen_rate = f64::from(replies) / settings.window_seconds.max(1) as f64;
    if window.throttled > 0 && f64::from(window.throttled) >= settings.share * f64::from(replies) {
        let from = adaptive_rate.unwrap_or(seen_rate);
        return Step::Slow((from / 2.0).max(settings.floor_per_second));
    }
    match adaptive_rate {
        Some(rate) if window.throttled == 0 && window.accepted > 0 => {
            let raised = rate * settings.raise;
            if raised > settings.release_per_second { Step::Release } else { Step::Raise(raised) }
        }
        _ => Step::Stay,
    }
}

/// Counts replies into the hour, many destinations in one statement.
///
/// # Errors
/// The database failed.
pub async fn count(pool: &PgPool, windows: &BTreeMap<String, Window>) -> Result<()> {
    let column = |value: fn(&Window) -> u32| windows.values().map(|w| i64::from(value(w))).collect::<Vec<_>>();
    sqlx::query(
        "INSERT INTO destination_hours AS h (domain, hour, accepted, deferred, failed)
         SELECT domain, date_trunc('hour', now(), 'UTC'), accepted, deferred, failed
         FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS u (domain, accepted, deferred, failed) ORDER BY domain
         ON CONFLICT (domain, hour) DO UPDATE SET accepted = h.accepted + excluded.accepted, deferred = h.deferred + excluded.deferred,
             failed = h.failed + excluded.failed, updated_at = now()",
    )
    .bind(windows.keys().map(String::as_str).collect::<Vec<_>>())
    .bind(column(|w| w.accepted))
    .bind(column(|w| w.throttled + w.deferred))
    .bind(column(|w| w.failed))
    .execute(pool)
    .await?;
    Ok(())
}

/// Takes a step. Where another process has taken one in the same window, this one stays, so that a fleet slows down no faster than a
/// single worker.
///
/// # Errors
/// The database failed.
pub async fn take(pool: &PgPool, domain: &str, step: Step, last_reply: Option<&str>, settings: &Slowdown) -> Result<()> {
    let (rate, pause, suspend, reason) = match step {
        Step::Stay => return Ok(()),
        Step::Slow(rate) => (Some(rate), settings.cooldown_seconds, 0.0, Some("throttling replies")),
        Step::Raise(rate) => (Some(rate), 0.0, 0.0, None),
        Step::Release => (None, 0.0, 0.0, None),
        Step::Suspend => (None, 0.0, settings.suspend_seconds, Some("policy replies")),
    };
    #[expect(clippy::cast_precision_loss, reason = "a window is seconds")]
    let window_seconds = settings.window_seconds as f64;
    sqlx::query(
        "INSERT INTO destinations AS d (domain, adaptive_rate, cooldown_until, suspended_until, reason, last_reply, slowed_at)
         VALUES ($1, $2, CASE WHEN $3::float8 > 0 THEN now() + make_interval(secs => $3) END,
                 CASE WHEN $4::float8 > 0 THEN now() + make_interval(secs => $4) END, $5, $6,
                 CASE WHEN $3 + $4 > 0 THEN now() END)
         ON CONFLICT (domain) DO UPDATE SET
             adaptive_rate = CASE WHEN $4 > 0 THEN d.adaptive_rate ELSE excluded.adaptive_rate END,
             cooldown_until = coalesce(excluded.cooldown_until, d.cooldown_until),
             suspended_until = coalesce(excluded.suspended_until, d.suspended_until),
             reason = excluded.reason, last_reply = coalesce(excluded.last_reply, d.last_reply),
             slowed_at = coalesce(excluded.slowed_at, d.slowed_at), updated_at = now()
         WHERE d.updated_at < now() - make_interval(secs => $7::float8 * 0.8)",
    )
    .bind(domain)
    .bind(rate)
    .bind(pause)
    .bind(suspend)
    .bind(reason)
    .bind(last_reply)
    .bind(window_seconds)
    .execute(pool)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn window(accepted: u32, throttled: u32, policy: u32) -> Window {
        Window { accepted, throttled, policy, failed: policy, ..Window::default() }
    }

    #[test]
    fn throttling_replies_halve_the_rate_and_success_raises_it_until_it_is_released() {
        let settings = Settings::sample().sending.slowdown;
        assert_eq!(judge(&window(10, 40, 0), None, &settings), Step::Slow(5.0));
        assert_eq!(judge(&window(0, 3, 0), Some(1.5), &settings), Step::Slow(1.0));
        assert_eq!(judge(&window(10, 0, 0), Some(8.0), &settings), Step::Raise(10.0));
        assert_eq!(judge(&window(10, 0, 0), Some(900.0), &settings), Step::Release);
        assert_eq!(judge(&window(50, 3, 0), Some(8.0), &settings), Step::Stay);
    }

    #[test]
    fn policy_replies_suspend_only_when_they_are_many() {
        let settings = Settings::sample().sending.slowdown;
        assert_eq!(judge(&window(0, 0, 10), None, &settings), Step::Suspend);
        assert_eq!(judge(&window(100, 0, 10), None, &settings), Step::Stay);
    }
}
