//! What does not move, and why. Reads only; asks every part and goes on where one does not answer.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use super::sending::{self, Hold};
use crate::{
    database,
    error::Result,
    keyspace::Keyspace,
    queue::{lane::Lane, ticket::Tickets},
    routes::connections,
    settings::Settings,
};

/// How long Redis may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Destinations that are told, the worst first.
const MOST_DESTINATIONS: i64 = 15;

/// The whole picture at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Picture {
    /// When it was taken, by the database's clock.
    pub at: DateTime<Utc>,
    /// Why the schema does not fit this build, if it does not.
    pub schema: Option<String>,
    /// Why Redis could not be asked, if it could not.
    pub redis: Option<String>,
    /// What holds all sending back.
    pub hold: Option<Hold>,
    /// What the operator said who paused it.
    pub hold_reason: Option<String>,
    /// Since when an operator holds it back.
    pub paused_at: Option<DateTime<Utc>>,
    /// Worker processes that were seen within three heartbeats.
    pub workers: i64,
    /// Lanes that have work, dead jobs or live workers.
    pub lanes: Vec<LaneView>,
    /// Routes that may be used.
    pub routes: Vec<RouteView>,
    /// Destinations that hold chunks or recipients back.
    pub destinations: Vec<DestinationView>,
    /// What does not move, the worst first, each with what mends it.
    pub findings: Vec<Finding>,
}

/// One lane.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct LaneView {
    /// Its name.
    pub lane: String,
    /// In line.
    pub queued: i64,
    /// Of those, what a claim would give out now.
    pub ready: i64,
    /// Of those, held back by the switch or because this is a copy.
    pub held: i64,
    /// Of those, of paused campaigns.
    pub paused: i64,
    /// Of those, for a destination that cools down, is suspended or has its cap of chunks.
    pub throttled: i64,
    /// With a later date.
    pub scheduled: i64,
    /// Of those, whose date is over by 5 s and more: no bell has put them in line.
    pub overdue: i64,
    /// Seconds since the oldest that could run became due.
    pub oldest_seconds: Option<f64>,
    /// Leased.
    pub running: i64,
    /// Of those, whose lease ran out 5 s ago and more: no reconciler has taken them back.
    pub expired: i64,
    /// Dead within the last 24 hours.
    pub dead_day: i64,
    /// Dead altogether.
    pub dead: i64,
    /// Jobs that the live workers run at once.
    pub slots: i64,
    /// Tickets in Redis; `None`: it was not asked, or did not answer.
    #[sqlx(skip)]
    pub tickets: Option<usize>,
    /// Jobs that wait with an error in hand, and the newest of these errors.
    pub troubled: i64,
    /// The newest error of a job that waits.
    pub trouble: Option<String>,
}

/// One route.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct RouteView {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Connections that it takes.
    pub max_connections: i32,
    /// Of those, what campaigns may have.
    #[sqlx(skip)]
    pub for_campaigns: u64,
    /// Connections that the workers have; `None`: Redis was not asked, or did not answer.
    #[sqlx(skip)]
    pub taken: Option<u64>,
}

impl RouteView {
    fn is_full(&self) -> bool {
        self.taken.is_some_and(|taken| taken >= self.for_campaigns)
    }
}

/// One destination.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct DestinationView {
    /// The domain.
    pub domain: String,
    /// Chunks in line.
    pub queued: i64,
    /// Chunks that run.
    pub running: i64,
    /// Recipients that wait for another attempt.
    pub deferred: i64,
    /// Seconds since the oldest of those had its first attempt.
    pub oldest_seconds: Option<f64>,
    /// Nothing starts before.
    pub cooldown_until: Option<DateTime<Utc>>,
    /// Nothing starts before; policy replies.
    pub suspended_until: Option<DateTime<Utc>>,
    /// Messages per second that the replies allow now.
    pub adaptive_rate: Option<f64>,
    /// Why it is slowed or suspended.
    pub reason: Option<String>,
    /// The last reply that was not a success.
    pub last_reply: Option<String>,
}

/// Something that does not move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A lane, a destination, or the part that fails.
    pub subject: String,
    /// What is the matter.
    pub says: String,
    /// What mends it.
    pub mend: String,
}

impl Finding {
    fn new(subject: impl Into<String>, says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { subject: subject.into(), says: says.into(), mend: mend.into() }
    }
}

/// Takes the picture.
///
/// # Errors
/// PostgreSQL does not answer, or has none of our tables. Redis may be down.
pub async fn picture(pool: &PgPool, settings: &Settings) -> Result<Picture> {
    let schema = match database::check_schema(pool).await {
        Ok(()) => None,
        Err(database::SchemaError::Database(error)) => return Err(error.into()),
        Err(unfit) => Some(unfit.to_string()),
    };
    let mut connection = pool.acquire().await?;
    let at = sqlx::query_scalar("SELECT now()").fetch_one(&mut *connection).await?;
    let standing = sending::standing(&mut connection).await?;
    let heartbeat = i32::try_from(settings.queue.heartbeat_seconds).unwrap_or(5);
    let mut lanes: Vec<LaneView> = sqlx::query_as(LANES)
        .bind(Lane::ALL.map(|lane| settings.sending.destination_cap(lane)).as_slice())
        .bind(heartbeat)
        .bind(Lane::ALL.map(Lane::name).as_slice())
        .fetch_all(&mut *connection)
        .await?;
    let destinations = sqlx::query_as(DESTINATIONS).bind(MOST_DESTINATIONS).fetch_all(&mut *connection).await?;
    let workers = sqlx::query_scalar("SELECT count(*) FROM workers WHERE seen_at > now() - make_interval(secs => $1) * 3")
        .bind(f64::from(heartbeat))
        .fetch_one(&mut *connection)
        .await?;
    let mut routes: Vec<RouteView> =
        sqlx::query_as("SELECT id, name, max_connections FROM routes WHERE disabled_at IS NULL ORDER BY name, id")
            .fetch_all(&mut *connection)
            .await?;
    drop(connection);
    for route in &mut routes {
        let most = u64::try_from(route.max_connections).unwrap_or(0);
        route.for_campaigns = most - u64::from(settings.sending.transactional.reserved).min(most / 4);
    }
    let redis = ask_redis(settings, &mut lanes, &mut routes).await.err();
    let mut picture = Picture {
        at,
        schema,
        redis,
        hold: standing.hold,
        hold_reason: standing.reason,
        paused_at: standing.paused_at,
        workers,
        lanes,
        routes,
        destinations,
        findings: Vec::new(),
    };
    picture.findings = findings(&picture);
    Ok(picture)
}

async fn ask_redis(settings: &Settings, lanes: &mut [LaneView], routes: &mut [RouteView]) -> Result<(), String> {
    let keyspace = Keyspace::new(&settings.redis).map_err(|error| error.to_string())?;
    let ids: Vec<Uuid> = routes.iter().map(|route| route.id).collect();
    let taken = tokio::time::timeout(PATIENCE, connections::taken(&keyspace, &ids)).await;
    let taken = taken.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?.map_err(|error| error.to_string())?;
    routes.iter_mut().zip(taken).for_each(|(route, taken)| route.taken = Some(taken));
    let tickets = Tickets::new(keyspace);
    for view in lanes {
        let Ok(lane) = view.lane.parse() else { continue };
        match tokio::time::timeout(PATIENCE, tickets.waiting(lane)).await {
            Ok(Ok(count)) => view.tickets = Some(count),
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }
    Ok(())
}

/// The rule: what is the matter, and what mends it.
fn findings(picture: &Picture) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(schema) = &picture.schema {
        found.push(Finding::new("schema", schema.clone(), "mochila-api migrate"));
    }
    if let Some(reason) = &picture.redis {
        let says = format!("Redis does not answer ({reason}): no job is begun, and running ones get no tokens");
        found.push(Finding::new("redis", says, "start Redis; nothing is lost meanwhile"));
    }
    let reason = picture.hold_reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    match picture.hold {
        Some(Hold::Restored) => found.push(Finding::new(
            "sending",
            "this database is a copy (restored, promoted or moved) that nobody has confirmed: nothing is sent",
            "stop the original, then mochila-worker confirm-restore",
        )),
        Some(Hold::Everything) => {
            found.push(Finding::new("sending", format!("paused, account mail too{reason}"), "mochila-worker resume-sending"));
        }
        Some(Hold::Campaigns) => {
            found.push(Finding::new("sending", format!("campaigns are paused{reason}"), "mochila-worker resume-sending"));
        }
        None => {}
    }
    for lane in &picture.lanes {
        of_lane(lane, picture.workers, &picture.routes, &mut found);
    }
    for destination in &picture.destinations {
        of_destination(destination, picture.at, &mut found);
    }
    found
}

fn of_lane(lane: &LaneView, workers: i64, routes: &[RouteView], found: &mut Vec<Finding>) {
    let name = lane.lane.as_str();
    let wait = lane.oldest_seconds.unwrap_or(0.0);
    let mut tell = |says: String, mend: &str| found.push(Finding::new(name, says, mend));
    let waiting = lane.queued + lane.overdue;
    if waiting + lane.running > 0 && lane.slots == 0 {
        let says = if workers == 0 { "no worker is alive" } else { "no live worker serves this lane" };
        tell(format!("{says}; {waiting} jobs wait"), &format!("mochila-worker --lanes {name}"));
    } else if lane.overdue > 0 {
        tell(format!("{} jobs are due and no bell puts them in line", lane.overdue), "restart the workers of this lane");
    } else if let (true, Some(route)) = (lane.ready > 0 && wait > 30.0, full(name, routes)) {
        tell(
            format!(
                "{} jobs wait for a connection: all {} that campaigns may have are taken on {}",
                lane.ready, route.for_campaigns, route.name
            ),
            &format!("goes on as they come free; for more of them: PATCH /api/v1/routes/{} {{\"max_connections\": …}}", route.id),
        );
    } else if lane.ready > 0 && wait > 30.0 && lane.running >= lane.slots {
        tell(
            format!("all {} slots are busy and {} jobs wait", lane.slots, lane.ready),
            &format!("one more mochila-worker --lanes {name}"),
        );
    } else if lane.ready > 0 && wait > 30.0 {
        tell(
            format!("{} jobs are ready, slots are free, and nobody takes them", lane.ready),
            "mochila-worker doctor, then restart the workers",
        );
    }
    if lane.expired > 0 {
        tell(
            format!("{} jobs run on leases that are over: their workers are gone", lane.expired),
            "any live worker takes them back; start one",
        );
    }
    if lane.paused > 0 {
        tell(format!("{} jobs belong to paused campaigns", lane.paused), "POST /api/v1/campaigns/ID/resume");
    }
    if name == Lane::Bulk.name() && waiting > 0 && routes.is_empty() {
        tell(
            "there is no route that may be used".to_owned(),
            "PATCH /api/v1/routes/ID {\"disabled\": false}, or POST /api/v1/routes",
        );
    } else if let (Some(trouble), true) = (&lane.trouble, lane.troubled > 0) {
        let mend = if trouble.contains("route") { "mochila-worker doctor" } else { "the log of the workers" };
        tell(format!("{} jobs try again after: {trouble}", lane.troubled), mend);
    }
    if lane.dead > 0 {
        let says = format!("{} jobs are dead, {} of them since yesterday", lane.dead, lane.dead_day);
        tell(says, &format!("mochila-worker requeue-dead --lane {name}"));
    }
}

/// The largest of the routes, if campaigns can have no connection of any.
fn full<'a>(lane: &str, routes: &'a [RouteView]) -> Option<&'a RouteView> {
    let all = lane == Lane::Bulk.name() && routes.iter().all(RouteView::is_full);
    routes.iter().max_by_key(|route| route.for_campaigns).filter(|_| all)
}

/// As a shell takes it: the name of a route to a provider has a space.
fn quoted(name: &str) -> String {
    if name.contains(' ') { format!("'{name}'") } else { name.to_owned() }
}

fn of_destination(destination: &DestinationView, at: DateTime<Utc>, found: &mut Vec<Finding>) {
    let reply = destination.last_reply.as_ref().map_or_else(String::new, |reply| format!(", last reply: {reply}"));
    let domain = &destination.domain;
    if let Some(until) = destination.suspended_until.filter(|until| *until > at) {
        let reason = destination.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
        let says = format!("suspended until {}{reason}{reply}", until.format("%F %H:%M"));
        found.push(Finding::new(domain, says, format!("mochila-worker resume-destination {}", quoted(domain))));
    } else if let Some(rate) =
        destination.adaptive_rate.filter(|_| destination.queued + destination.deferred > 0 || domain.contains(':'))
    {
        let says = format!("slowed to {rate:.1} a second by its replies{reply}");
        let mend = format!("rises by itself; at once: mochila-worker resume-destination {}", quoted(domain));
        found.push(Finding::new(domain, says, mend));
    } else if destination.cooldown_until.is_some_and(|until| until > at) {
        found.push(Finding::new(domain, format!("cools down{reply}"), "goes on by itself within seconds".to_owned()));
    }
}

/// $1 each lane's cap of jobs of a destination, $2 heartbeat in seconds, $3 lanes.
const LANES: &str = "
WITH hold AS MATERIALIZED (SELECT sending_hold() AS name),
     full_destinations AS MATERIALIZED (
         SELECT j.lane, j.destination FROM jobs j JOIN unnest($3::text[], $1::int[]) AS l (name, cap) ON l.name = j.lane
         WHERE j.state = 'running' AND j.destination <> '' GROUP BY j.lane, j.destination, l.cap HAVING count(*) >= l.cap),
     waiting AS (
         SELECT j.lane, j.run_at, j.last_error, CASE
             WHEN job_is_held(hold.name, j.lane, j.kind) THEN 'held'
             WHEN c.state = 'paused' THEN 'paused'
             WHEN coalesce(greatest(d.cooldown_until, d.suspended_until), '-infinity') > now() OR f.lane IS NOT NULL THEN 'throttled'
             ELSE 'ready' END AS fate
         FROM hold CROSS JOIN jobs j
         LEFT JOIN campaigns c ON c.id = j.campaign_id LEFT JOIN destinations d ON d.domain = j.destination
         LEFT JOIN full_destinations f ON f.lane = j.lane AND f.destination = j.destination
         WHERE j.state = 'queued'),
     q AS (
         SELECT lane, count(*) AS queued, count(*) FILTER (WHERE fate = 'ready') AS ready, count(*) FILTER (WHERE fate = 'held') AS held,
                count(*) FILTER (WHERE fate = 'paused') AS paused, count(*) FILTER (WHERE fate = 'throttled') AS throttled,
                extract(epoch FROM now() - min(run_at) FILTER (WHERE fate = 'ready'))::float8 AS oldest_seconds
         FROM waiting GROUP BY lane),
     s AS (
         SELECT lane, count(*) AS scheduled, count(*) FILTER (WHERE run_at < now() - interval '5 seconds') AS overdue
         FROM jobs WHERE state = 'scheduled' GROUP BY lane),
     r AS (
         SELECT lane, count(*) AS running, count(*) FILTER (WHERE lease_until < now() - interval '5 seconds') AS expired
         FROM jobs WHERE state = 'running' GROUP BY lane),
     t AS (
         SELECT lane, count(*) AS troubled, (array_agg(last_error ORDER BY updated_at DESC))[1] AS trouble
         FROM jobs WHERE state IN ('queued', 'scheduled') AND last_error IS NOT NULL GROUP BY lane),
     x AS (
         SELECT lane, count(*) AS dead, count(*) FILTER (WHERE finished_at > now() - interval '24 hours') AS dead_day
         FROM jobs WHERE state = 'dead' GROUP BY lane),
     w AS (
         SELECT l.name AS lane, coalesce(sum((workers.slots ->> l.name)::bigint), 0)::bigint AS slots
         FROM unnest($3::text[]) AS l (name) LEFT JOIN workers
             ON workers.seen_at > now() - make_interval(secs => $2) * 3 GROUP BY l.name)
SELECT l.name AS lane, coalesce(queued, 0) AS queued, coalesce(ready, 0) AS ready, coalesce(held, 0) AS held,
       coalesce(paused, 0) AS paused, coalesce(throttled, 0) AS throttled, coalesce(scheduled, 0) AS scheduled,
       coalesce(overdue, 0) AS overdue, oldest_seconds, coalesce(running, 0) AS running, coalesce(expired, 0) AS expired,
       coalesce(dead_day, 0) AS dead_day, coalesce(dead, 0) AS dead, coalesce(slots, 0) AS slots, coalesce(troubled, 0) AS troubled, trouble
FROM unnest($3::text[]) WITH ORDINALITY AS l (name, place)
LEFT JOIN q ON q.lane = l.name LEFT JOIN s ON s.lane = l.name LEFT JOIN r ON r.lane = l.name
LEFT JOIN t ON t.lane = l.name LEFT JOIN x ON x.lane = l.name LEFT JOIN w ON w.lane = l.name
ORDER BY l.place";

/// $1 how many.
const DESTINATIONS: &str = "
WITH chunks AS (
         SELECT destination AS domain, count(*) FILTER (WHERE state <> 'running') AS queued, count(*) FILTER (WHERE state = 'running') AS running
         FROM jobs WHERE state IN ('queued', 'scheduled', 'running') AND destination <> '' GROUP BY destination),
     later AS (
         SELECT d.domain, count(*) AS deferred, extract(epoch FROM now() - min(d.first_attempt_at))::float8 AS oldest_seconds
         FROM campaigns c JOIN deliveries d ON d.campaign_id = c.id AND d.next_attempt_at IS NOT NULL
         WHERE c.state IN ('sending', 'paused') GROUP BY d.domain),
     names AS (
         SELECT domain FROM chunks UNION SELECT domain FROM later
         UNION SELECT domain FROM destinations WHERE coalesce(greatest(cooldown_until, suspended_until), '-infinity') > now()
            OR adaptive_rate IS NOT NULL AND position(':' IN domain) > 0)
SELECT n.domain, coalesce(chunks.queued, 0) AS queued, coalesce(chunks.running, 0) AS running, coalesce(later.deferred, 0) AS deferred,
       later.oldest_seconds, d.cooldown_until, d.suspended_until, d.adaptive_rate, d.reason, d.last_reply
FROM names n LEFT JOIN chunks ON chunks.domain = n.domain LEFT JOIN later ON later.domain = n.domain
LEFT JOIN destinations d ON d.domain = n.domain
WHERE n.domain <> ''
ORDER BY coalesce(greatest(d.cooldown_until, d.suspended_until), '-infinity') > now() DESC,
         coalesce(later.deferred, 0) + 500 * coalesce(chunks.queued, 0) DESC, n.domain LIMIT $1";
