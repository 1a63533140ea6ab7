//! What `/metrics` asks of the queue, at scrape time.

use std::time::{Duration, Instant, SystemTime};

use sqlx::{FromRow, PgPool};

use super::{
    fleet,
    lane::Lane,
    ticket::{TicketError, Tickets},
};
use crate::{
    error::{Error, Result},
    settings::Sending,
};

/// Prometheus gives a scrape ten seconds.
const PATIENCE: Duration = Duration::from_secs(4);

/// Why a scrape could not ask for everything.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// PostgreSQL.
    #[error(transparent)]
    Database(#[from] Error),
    /// Redis.
    #[error(transparent)]
    Tickets(#[from] TicketError),
}

/// Asks PostgreSQL and Redis, each for itself, and sets the gauges. Every lane has its value, so that an empty one is a zero and not a gap.
///
/// # Errors
/// PostgreSQL or Redis failed, or took longer than a scrape may; `postgres_up` and `redis_up` say which. The gauges set before stay.
pub async fn export(pool: &PgPool, tickets: &Tickets, sending: &Sending) -> Result<(), ScrapeError> {
    let (database, redis) = tokio::join!(
        tokio::time::timeout(PATIENCE, ask_database(pool, sending)),
        tokio::time::timeout(PATIENCE, ask_redis(tickets))
    );
    let database = database.unwrap_or_else(|_| Err(Error::internal("PostgreSQL has not answered in time").into()));
    let redis = redis.unwrap_or_else(|_| Err(Error::internal("Redis has not answered in time").into()));
    metrics::gauge!("postgres_up").set(if database.is_ok() { 1.0 } else { 0.0 });
    metrics::gauge!("redis_up").set(if redis.is_ok() { 1.0 } else { 0.0 });
    database.and(redis)
}

#[expect(clippy::cast_precision_loss, reason = "counts of jobs, workers, slots and destinations")]
async fn ask_database(pool: &PgPool, sending: &Sending) -> Result<(), ScrapeError> {
    metrics::gauge!("clock_skew_seconds").set(clock_skew(pool).await?);
    let lanes = lanes(pool, sending).await?;
    let slots = fleet::live(pool).await?;
    for lane in Lane::ALL.map(Lane::name) {
        let found = lanes.iter().find(|gauge| gauge.lane == lane);
        let count = |of: fn(&LaneGauge) -> i64| found.map_or(0, of) as f64;
        metrics::gauge!("jobs_ready", "lane" => lane).set(count(|g| g.ready));
        metrics::gauge!("jobs_scheduled", "lane" => lane).set(count(|g| g.scheduled));
        metrics::gauge!("jobs_running", "lane" => lane).set(count(|g| g.running));
        metrics::gauge!("jobs_dead", "lane" => lane).set(count(|g| g.dead));
        metrics::gauge!("jobs_ready_oldest_seconds", "lane" => lane).set(found.map_or(0.0, |g| g.oldest_ready_seconds));
        metrics::gauge!("lane_workers", "lane" => lane).set(slots.get(lane).map_or(0, |live| live.workers) as f64);
        metrics::gauge!("lane_slots", "lane" => lane).set(slots.get(lane).map_or(0, |live| live.slots) as f64);
    }
    let held = held_destinations(pool).await?;
    metrics::gauge!("destinations_throttled").set(held.throttled as f64);
    metrics::gauge!("destinations_suspended").set(held.suspended as f64);
    let hold: Option<String> = sqlx::query_scalar("SELECT sending_hold()").fetch_one(pool).await.map_err(Error::from)?;
    for reason in ["restored", "everything", "campaigns"] {
        let holds = hold.as_deref() == Some(reason);
        metrics::gauge!("sending_held", "reason" => reason).set(f64::from(u8::from(holds)));
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a count of tickets")]
async fn ask_redis(tickets: &Tickets) -> Result<(), ScrapeError> {
    for lane in Lane::ALL {
        metrics::gauge!("tickets_waiting", "lane" => lane.name()).set(tickets.waiting(lane).await? as f64);
    }
    Ok(())
}

/// One lane, now.
#[derive(Clone, Debug, FromRow, PartialEq)]
pub struct LaneGauge {
    /// The lane.
    pub lane: String,
    /// What a claim would give out now.
    pub ready: i64,
    /// Seconds since the oldest of those became due.
    pub oldest_ready_seconds: f64,
    /// With a later date.
    pub scheduled: i64,
    /// Leased.
    pub running: i64,
    /// Waiting for a person.
    pub dead: i64,
}

/// Every lane that has jobs alive or dead.
///
/// # Errors
/// The database failed.
pub async fn lanes(pool: &PgPool, sending: &Sending) -> Result<Vec<LaneGauge>> {
    Ok(sqlx::query_as(
        "WITH hold AS MATERIALIZED (SELECT sending_hold() AS name),
         full_destinations AS MATERIALIZED (
             SELECT j.lane, j.destination FROM jobs j JOIN unnest($1::text[], $2::int[]) AS l (name, cap) ON l.name = j.lane
             WHERE j.state = 'running' AND j.destination <> '' GROUP BY j.lane, j.destination, l.cap HAVING count(*) >= l.cap),
         living AS (
             -- One index each; of those in line only what no pause and no destination holds back.
             SELECT j.lane, 'queued' AS state, count(*) AS n, min(j.run_at) AS oldest FROM hold CROSS JOIN jobs j
             LEFT JOIN campaigns c ON c.id = j.campaign_id LEFT JOIN destinations d ON d.domain = j.destination
             LEFT JOIN full_destinations f ON f.lane = j.lane AND f.destination = j.destination
             WHERE j.state = 'queued' AND f.lane IS NULL AND c.state IS DISTINCT FROM 'paused' AND NOT job_is_held(hold.name, j.lane, j.kind)
               AND coalesce(greatest(d.cooldown_until, d.suspended_until), '-infinity') <= now() GROUP BY j.lane
             UNION ALL SELECT lane, 'scheduled', count(*), NULL FROM jobs WHERE state = 'scheduled' GROUP BY lane
             UNION ALL SELECT lane, 'running', count(*), NULL FROM jobs WHERE state = 'running' GROUP BY lane
             UNION ALL SELECT lane, 'dead', count(*), NULL FROM jobs WHERE state = 'dead' GROUP BY lane)
         SELECT lane, coalesce(sum(n) FILTER (WHERE state = 'queued'), 0)::bigint AS ready,
                coalesce(extract(epoch FROM now() - min(oldest)), 0)::float8 AS oldest_ready_seconds,
                coalesce(sum(n) FILTER (WHERE state = 'scheduled'), 0)::bigint AS scheduled,
                coalesce(sum(n) FILTER (WHERE state = 'running'), 0)::bigint AS running,
                coalesce(sum(n) FILTER (WHERE state = 'dead'), 0)::bigint AS dead
         FROM living GROUP BY lane",
    )
    .bind(Lane::ALL.map(Lane::name).as_slice())
    .bind(Lane::ALL.map(|lane| sending.destination_cap(lane)).as_slice())
    .fetch_all(pool)
    .await?)
}

/// Destinations that are held back, now.
#[derive(Clone, Copy, Debug, FromRow, PartialEq, Eq)]
pub struct Held {
    /// Cooling down, suspended or slowed.
    pub throttled: i64,
    /// Of those, suspended: their policy replies were many.
    pub suspended: i64,
}

/// How many destinations are held back.
///
/// # Errors
/// The database failed.
pub async fn held_destinations(pool: &PgPool) -> Result<Held> {
    Ok(sqlx::query_as(
        "SELECT count(*) AS throttled, count(*) FILTER (WHERE suspended_until > now()) AS suspended
         FROM destinations WHERE cooldown_until > now() OR suspended_until > now() OR adaptive_rate IS NOT NULL",
    )
    .fetch_one(pool)
    .await?)
}

/// Seconds by which this machine's clock is ahead of the database's, half of the round trip taken off.
async fn clock_skew(pool: &PgPool) -> Result<f64> {
    let mut connection = pool.acquire().await?;
    let begun = Instant::now();
    let asked = SystemTime::now();
    let theirs: f64 =
        sqlx::query_scalar("SELECT extract(epoch FROM clock_timestamp())::float8").fetch_one(&mut *connection).await?;
    let ours = asked.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + begun.elapsed() / 2;
    Ok(ours.as_secs_f64() - theirs)
}
