//! The noun: a destination that has limits, is being slowed down or is suspended: a recipient domain, a provider, or a route to one.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgPool};

use crate::{error::Result, settings::Slowdown};

/// What holds for a destination now. One without a row has the limits of the shaping file alone.
#[derive(Clone, Debug, Default, FromRow, PartialEq)]
pub struct Destination {
    /// A domain, lower case, or the scope of a provider.
    pub domain: String,
    /// An operator's limit.
    pub rate_per_second: Option<f64>,
    /// An operator's limit, over all workers.
    pub max_connections: Option<i32>,
    /// What the replies taught us.
    pub adaptive_rate: Option<f64>,
    /// What a window without a throttling reply adds to it.
    pub adaptive_step: Option<f64>,
    /// The rate at which the trouble began.
    pub adaptive_from: Option<f64>,
    /// What an adaptive rule says, while it holds.
    pub adaptive_connections: Option<i32>,
    /// Nothing starts before.
    pub cooldown_until: Option<DateTime<Utc>>,
    /// Nothing starts before; policy replies.
    pub suspended_until: Option<DateTime<Utc>>,
    /// Held back now, by the database's clock.
    pub held: bool,
    /// An adaptive rule holds now: no recovery.
    pub ruled: bool,
    /// What is deferred now is refused for good.
    pub bounces: bool,
}

impl Destination {
    /// One without anything.
    #[must_use]
    pub fn of(scope: &str) -> Self {
        Self { domain: scope.to_owned(), ..Self::default() }
    }

    /// Nothing starts before; `None`: it may start now.
    #[must_use]
    pub fn held_until(&self) -> Option<DateTime<Utc>> {
        self.cooldown_until.max(self.suspended_until).filter(|_| self.held)
    }
}

/// Every destination with a row, by scope.
///
/// # Errors
/// The database failed.
pub async fn all(pool: &PgPool) -> Result<HashMap<String, Destination>> {
    let rows: Vec<Destination> = sqlx::query_as(
        "SELECT domain, rate_per_second, max_connections, adaptive_rate, adaptive_step, adaptive_from,
                CASE WHEN hold_until > now() THEN adaptive_connections END AS adaptive_connections, cooldown_until, suspended_until,
                coalesce(greatest(cooldown_until, suspended_until), '-infinity') > now() AS held,
                coalesce(hold_until > now(), false) AS ruled, coalesce(bounce_until > now(), false) AS bounces
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

impl Window {
    /// Takes another window of the same time in.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.throttled += other.throttled;
        self.deferred += other.deferred;
        self.failed += other.failed;
        self.policy += other.policy;
        if other.last_reply.is_some() {
            self.last_reply.clone_from(&other.last_reply);
        }
    }
}

/// What follows from a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Nothing.
    Stay,
    /// Fewer messages a second from now on, and a pause first.
    Slow {
        /// Messages a second.
        rate: f64,
        /// What each good window adds to that.
        step: f64,
        /// The rate at which the trouble began.
        from: f64,
    },
    /// This many messages a second from now on.
    Raise(f64),
    /// The limit that the replies taught us is gone.
    Release,
    /// Nothing for a long while.
    Suspend,
}

/// The rule: throttling replies cut the rate in half, each window without one adds a step to it, policy replies suspend. The step is a share
/// of the rate after the cut, so that it takes as long from any rate; at twice the rate at which the trouble began the limit has no meaning.
#[must_use]
pub fn judge(window: &Window, state: Option<&Destination>, settings: &Slowdown) -> Step {
    let replies = window.accepted + window.throttled + window.deferred + window.failed;
    if window.policy >= settings.suspend_after && f64::from(window.policy) >= settings.share * f64::from(replies) {
        return Step::Suspend;
    }
    #[expect(clippy::cast_precision_loss, reason = "a window is seconds")]
    let seen_rate = f64::from(replies) / settings.window_seconds.max(1) as f64;
    let step = |rate: f64| (settings.raise - 1.0).max(0.01) * rate;
    let adaptive_rate = state.and_then(|state| state.adaptive_rate);
    if window.throttled > 0 && f64::from(window.throttled) >= settings.share * f64::from(replies) {
        let from = adaptive_rate.unwrap_or(seen_rate);
        // What a rule has slowed below the floor is not sped up by a complaint.
        let rate = (from / 2.0).max(settings.floor_per_second.min(adaptive_rate.unwrap_or(f64::INFINITY)));
        return Step::Slow { rate, step: step(rate), from };
    }
    match adaptive_rate {
        Some(rate) if window.throttled == 0 && window.accepted > 0 && !state.is_some_and(|state| state.ruled) => {
            let raised = rate + state.and_then(|state| state.adaptive_step).unwrap_or_else(|| step(rate));
            let end = state.and_then(|state| state.adaptive_from).map_or(settings.release_per_second, |from| 2.0 * from);
            if raised >= end.min(settings.release_per_second) { Step::Release } else { Step::Raise(raised) }
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
        Step::Slow { rate, .. } => (Some(rate), settings.cooldown_seconds, 0.0, Some("throttling replies")),
        Step::Raise(rate) => (Some(rate), 0.0, 0.0, None),
        Step::Release => (None, 0.0, 0.0, None),
        Step::Suspend => (None, 0.0, settings.suspend_seconds, Some("policy replies")),
    };
    let (raise, from) = match step {
        Step::Slow { step, from, .. } => (Some(step), Some(from)),
        _ => (None, None),
    };
    #[expect(clippy::cast_precision_loss, reason = "a window is seconds")]
    let window_seconds = settings.window_seconds as f64;
    sqlx::query(
        "INSERT INTO destinations AS d (domain, adaptive_rate, cooldown_until, suspended_until, reason, last_reply, slowed_at, adaptive_step,
                                        adaptive_from)
         VALUES ($1, $2, CASE WHEN $3::float8 > 0 THEN now() + make_interval(secs => $3) END,
                 CASE WHEN $4::float8 > 0 THEN now() + make_interval(secs => $4) END, $5, $6,
                 CASE WHEN $3 + $4 > 0 THEN now() END, $8, $9)
         ON CONFLICT (domain) DO UPDATE SET
             adaptive_rate = CASE WHEN $4 > 0 THEN d.adaptive_rate ELSE excluded.adaptive_rate END,
             adaptive_step = coalesce(excluded.adaptive_step, d.adaptive_step),
             adaptive_from = coalesce(excluded.adaptive_from, d.adaptive_from),
             cooldown_until = coalesce(excluded.cooldown_until, d.cooldown_until),
             suspended_until = greatest(excluded.suspended_until, d.suspended_until),
             rule = NULL, reason = coalesce(excluded.reason, CASE WHEN d.suspended_until > now() THEN d.reason END),
             last_reply = coalesce(excluded.last_reply, d.last_reply),
             slowed_at = coalesce(excluded.slowed_at, d.slowed_at), updated_at = now()
         WHERE d.updated_at < now() - make_interval(secs => $7::float8 * 0.8)
           -- While a rule holds it decides; a suspension comes on top of it.
           AND ($4 > 0 OR coalesce(d.hold_until, '-infinity') <= now())",
    )
    .bind(domain)
    .bind(rate)
    .bind(pause)
    .bind(suspend)
    .bind(reason)
    .bind(last_reply)
    .bind(window_seconds)
    .bind(raise)
    .bind(from)
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

    fn slowed(rate: f64, step: f64, from: f64) -> Destination {
        Destination { adaptive_rate: Some(rate), adaptive_step: Some(step), adaptive_from: Some(from), ..Destination::of("a.test") }
    }

    #[test]
    fn throttling_replies_halve_the_rate_and_success_adds_to_it_until_it_is_released() {
        let settings = Settings::sample().sending.slowdown;
        assert_eq!(judge(&window(10, 40, 0), None, &settings), Step::Slow { rate: 5.0, step: 1.25, from: 10.0 });
        let state = slowed(1.5, 0.25, 3.0);
        assert_eq!(judge(&window(0, 3, 0), Some(&state), &settings), Step::Slow { rate: 1.0, step: 0.25, from: 1.5 });
        assert_eq!(judge(&window(10, 0, 0), Some(&slowed(5.0, 1.25, 10.0)), &settings), Step::Raise(6.25));
        assert_eq!(judge(&window(10, 0, 0), Some(&slowed(12.5, 1.25, 10.0)), &settings), Step::Raise(13.75));
        assert_eq!(judge(&window(10, 0, 0), Some(&slowed(18.75, 1.25, 10.0)), &settings), Step::Release);
        assert_eq!(judge(&window(10, 0, 0), Some(&slowed(990.0, 100.0, 2000.0)), &settings), Step::Release);
        assert_eq!(judge(&window(50, 3, 0), Some(&slowed(8.0, 1.25, 10.0)), &settings), Step::Stay);
    }

    #[test]
    fn while_a_rule_holds_nothing_recovers_and_a_complaint_never_speeds_up() {
        let settings = Settings::sample().sending.slowdown;
        let ruled = Destination { ruled: true, ..slowed(0.02, 0.02, 0.6) };
        assert_eq!(judge(&window(10, 0, 0), Some(&ruled), &settings), Step::Stay);
        let Step::Slow { rate, .. } = judge(&window(0, 3, 0), Some(&ruled), &settings) else { panic!("it slows down") };
        assert!(rate <= 0.02, "{rate}");
    }

    #[test]
    fn policy_replies_suspend_only_when_they_are_many() {
        let settings = Settings::sample().sending.slowdown;
        assert_eq!(judge(&window(0, 0, 10), None, &settings), Step::Suspend);
        assert_eq!(judge(&window(100, 0, 10), None, &settings), Step::Stay);
    }
}
