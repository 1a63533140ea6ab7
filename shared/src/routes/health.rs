//! The noun: the health of a route, which is a circuit breaker that all workers share. Leases of probes and pauses use the database's
//! clock.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    database,
    error::Result,
    queue::{bell, lane::Lane},
    settings::Breaker,
};

/// Longer errors are cut: this is no log.
const LONGEST_ERROR: usize = 500;
/// What the error of a job begins with that waits for its route.
pub const WAITS: &str = "route: ";

/// A row of `route_health`. A route without one is closed, and nothing is known of it.
#[derive(Clone, Debug, FromRow)]
pub struct Health {
    /// `closed`: it is used; `open`: it is not; `half_open`: one connection tries it.
    pub state: String,
    /// Since when.
    pub since: Option<DateTime<Utc>>,
    /// When the next connection may try it.
    pub retry_at: Option<DateTime<Utc>>,
    /// Failures since it last carried a message.
    pub failures: i64,
    /// What it said, or what went wrong.
    pub last_error: Option<String>,
    /// When.
    pub last_failure_at: Option<DateTime<Utc>>,
    /// When it last carried a message or answered a probe, to a few seconds.
    pub last_success_at: Option<DateTime<Utc>>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            state: "closed".to_owned(),
            since: None,
            retry_at: None,
            failures: 0,
            last_error: None,
            last_failure_at: None,
            last_success_at: None,
        }
    }
}

/// The health of these routes.
///
/// # Errors
/// The database failed.
pub async fn of(connection: &mut PgConnection, routes: &[Uuid]) -> Result<HashMap<Uuid, Health>> {
    #[derive(FromRow)]
    struct Row {
        route_id: Uuid,
        #[sqlx(flatten)]
        health: Health,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT route_id, state, since, retry_at, failures, last_error, last_failure_at, last_success_at
         FROM route_health WHERE route_id = ANY ($1)",
    )
    .bind(routes)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.route_id, row.health)).collect())
}

/// What a worker goes by.
#[derive(Clone, Debug, FromRow)]
pub struct Broken {
    /// The route.
    pub route_id: Uuid,
    /// Seconds until somebody may try it; 0 or less: now.
    pub retry_seconds: f64,
}

/// Routes that must not be used now.
///
/// # Errors
/// The database failed.
pub async fn broken(pool: &PgPool) -> Result<Vec<Broken>> {
    Ok(sqlx::query_as(
        "SELECT route_id, extract(epoch FROM retry_at - clock_timestamp())::float8 AS retry_seconds
         FROM route_health WHERE state <> 'closed'",
    )
    .fetch_all(pool)
    .await?)
}

/// Opens the breaker of a closed route: nobody uses it until a probe goes well. Of several workers that see the same failure the first
/// opens it. Answers whether this call did.
///
/// # Errors
/// The database failed; the same call again is safe.
pub async fn open(pool: &PgPool, route_id: Uuid, error: &str, settings: &Breaker) -> Result<bool> {
    let opened = sqlx::query(
        "INSERT INTO route_health AS h (route_id, state, openings, retry_at, failures, last_error, last_failure_at)
         SELECT id, 'open', 1, clock_timestamp() + make_interval(secs => least($3, $4)), 1, $2, now() FROM routes WHERE id = $1
         ON CONFLICT (route_id) DO UPDATE SET
             state = 'open', since = now(), openings = least(h.openings + 1, 30),
             retry_at = clock_timestamp() + make_interval(secs => least($3 * 2 ^ least(h.openings, 30), $4)),
             last_error = excluded.last_error, last_failure_at = now(), updated_at = now()
         WHERE h.state = 'closed'",
    )
    .bind(route_id)
    .bind(cut(error))
    .bind(settings.pause_seconds)
    .bind(settings.longest_pause_seconds)
    .execute(pool)
    .await?
    .rows_affected();
    Ok(opened == 1)
}

/// The right to try an open route once; it ends by itself, should the worker die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    route_id: Uuid,
    until: DateTime<Utc>,
}

/// Takes the right to try a route whose pause is over: one worker gets it, with one connection. `None`: not now, or somebody else has it.
///
/// # Errors
/// The database failed; a right that was taken then ends by itself.
pub async fn claim(pool: &PgPool, route_id: Uuid, settings: &Breaker) -> Result<Option<Probe>> {
    let until: Option<DateTime<Utc>> = sqlx::query_scalar(
        "UPDATE route_health SET state = 'half_open', since = CASE state WHEN 'open' THEN now() ELSE since END,
             retry_at = clock_timestamp() + make_interval(secs => $2 * 2), updated_at = now()
         WHERE route_id = $1 AND state <> 'closed' AND retry_at <= clock_timestamp() RETURNING retry_at",
    )
    .bind(route_id)
    .bind(settings.probe_seconds)
    .fetch_optional(pool)
    .await?;
    Ok(until.map(|until| Probe { route_id, until }))
}

/// The probe failed: the pause begins again, twice as long. Does nothing where the right has passed to another probe.
///
/// # Errors
/// The database failed; the right ends by itself.
pub async fn failed(pool: &PgPool, probe: Probe, error: &str, settings: &Breaker) -> Result<bool> {
    let opened = sqlx::query(
        "UPDATE route_health SET state = 'open', since = now(), openings = least(openings + 1, 30), failures = failures + 1,
             retry_at = clock_timestamp() + make_interval(secs => least($4 * 2 ^ least(openings, 30), $5)),
             last_error = $3, last_failure_at = now(), updated_at = now()
         WHERE route_id = $1 AND state = 'half_open' AND retry_at = $2",
    )
    .bind(probe.route_id)
    .bind(probe.until)
    .bind(cut(error))
    .bind(settings.pause_seconds)
    .bind(settings.longest_pause_seconds)
    .execute(pool)
    .await?
    .rows_affected();
    Ok(opened == 1)
}

/// The route answered: it is used again, and the jobs that wait for a route are due. That it answered is a fact, whoever asked.
///
/// # Errors
/// The database failed.
pub async fn close(pool: &PgPool, route_id: Uuid) -> Result<()> {
    let mut transaction = database::begin(pool).await?;
    let was: Option<i32> = sqlx::query_scalar("SELECT 1 FROM route_health WHERE route_id = $1 AND state <> 'closed' FOR UPDATE")
        .bind(route_id)
        .fetch_optional(&mut *transaction)
        .await?;
    sqlx::query(
        "INSERT INTO route_health AS h (route_id, last_success_at) SELECT id, now() FROM routes WHERE id = $1
         ON CONFLICT (route_id) DO UPDATE SET state = 'closed', since = CASE h.state WHEN 'closed' THEN h.since ELSE now() END,
             retry_at = NULL, last_success_at = now(), updated_at = now()",
    )
    .bind(route_id)
    .execute(&mut *transaction)
    .await?;
    if was.is_some() {
        for lane in [Lane::Critical, Lane::Bulk] {
            bell::bring_forward(&mut transaction, lane, WAITS).await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

/// What a worker has seen of a route since it last said so.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Messages that the route carried, at least one of them after the last failure.
    pub carried: bool,
    /// Failures of the route as such.
    pub failures: i64,
    /// The last of them.
    pub error: Option<String>,
}

/// Adds what a worker has seen. An open route stays open: a probe decides.
///
/// # Errors
/// The database failed.
pub async fn note(pool: &PgPool, route_id: Uuid, seen: &Seen) -> Result<()> {
    sqlx::query(
        "INSERT INTO route_health AS h (route_id, failures, last_error, last_failure_at, last_success_at)
         SELECT id, CASE WHEN $2 THEN 0 ELSE $3 END, $4, CASE WHEN $3 > 0 THEN now() END, CASE WHEN $2 THEN now() END
         FROM routes WHERE id = $1
         ON CONFLICT (route_id) DO UPDATE SET
             failures = CASE WHEN $2 THEN 0 ELSE h.failures + $3 END,
             openings = CASE WHEN $2 AND h.state = 'closed' THEN 0 ELSE h.openings END,
             last_error = coalesce($4, h.last_error),
             last_failure_at = coalesce(excluded.last_failure_at, h.last_failure_at),
             last_success_at = coalesce(excluded.last_success_at, h.last_success_at), updated_at = now()",
    )
    .bind(route_id)
    .bind(seen.carried)
    .bind(seen.failures)
    .bind(seen.error.as_deref().map(cut))
    .execute(pool)
    .await?;
    Ok(())
}

/// A person has changed the route: whatever was wrong may be mended, so that it is tried at once.
///
/// # Errors
/// The database failed.
pub async fn try_at_once(connection: &mut PgConnection, route_id: Uuid) -> Result<()> {
    sqlx::query(
        "UPDATE route_health SET retry_at = clock_timestamp(), openings = 0, updated_at = now() WHERE route_id = $1 AND state = 'open'",
    )
    .bind(route_id)
    .execute(connection)
    .await?;
    Ok(())
}

/// PostgreSQL's text takes no NUL.
fn cut(error: &str) -> String {
    error.chars().filter(|c| *c != '\0').take(LONGEST_ERROR).collect()
}
