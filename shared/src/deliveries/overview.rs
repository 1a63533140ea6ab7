//! The question of what an operator sees of destinations: by domain, or by the provider that runs the domains.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgPool, QueryBuilder};
use uuid::Uuid;

use super::{
    destination::{self, Destination},
    limits,
    shaping::{Asked, Rules, provider_scope},
};
use crate::{
    error::{Error, Result},
    page::{Page, PageRequest},
    settings::Retry,
};

/// A destination as an operator sees it, with its replies of this hour and the last day.
#[derive(Clone, Debug, Default, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0002_queue.sql and 0021_shaping.sql")]
pub struct Overview {
    pub domain: String,
    pub rate_per_second: Option<f64>,
    pub max_connections: Option<i32>,
    pub adaptive_rate: Option<f64>,
    pub cooldown_until: Option<DateTime<Utc>>,
    pub suspended_until: Option<DateTime<Utc>>,
    pub reason: Option<String>,
    pub rule: Option<String>,
    pub last_reply: Option<String>,
    pub slowed_at: Option<DateTime<Utc>>,
    pub accepted_hour: i64,
    pub deferred_hour: i64,
    pub failed_hour: i64,
    pub accepted_day: i64,
    pub deferred_day: i64,
    pub failed_day: i64,
    pub updated_at: Option<DateTime<Utc>>,
    pub limits_set_at: Option<DateTime<Utc>>,
    /// Recipients that wait: in chunks of this destination, or deferred.
    pub queued: i64,
    /// Recipients of its chunks that run now.
    pub in_flight: i64,
    /// Since when the first of those who wait waits.
    pub oldest_at: Option<DateTime<Utc>>,
    /// As DNS said last.
    pub mail_hosts: Vec<String>,
    /// Seconds of this hour so far.
    pub hour_seconds: f64,
    /// Who runs it, as far as is known.
    #[sqlx(skip)]
    pub provider: Option<String>,
    /// Messages a second that it may have now; `None`: no limit of its own.
    #[sqlx(skip)]
    pub allowed_per_second: Option<f64>,
    /// Connections that it may have now; `None`: no limit of its own.
    #[sqlx(skip)]
    pub allowed_connections: Option<u32>,
}

impl Overview {
    /// Messages a second that it accepted in this hour.
    #[must_use]
    pub fn accepted_per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let accepted = self.accepted_hour as f64;
        accepted / self.hour_seconds.max(1.0)
    }

    fn take_in(&mut self, other: &Self) {
        self.queued += other.queued;
        self.in_flight += other.in_flight;
        self.oldest_at = self.oldest_at.into_iter().chain(other.oldest_at).min();
        self.accepted_hour += other.accepted_hour;
        self.deferred_hour += other.deferred_hour;
        self.failed_hour += other.failed_hour;
        self.accepted_day += other.accepted_day;
        self.deferred_day += other.deferred_day;
        self.failed_day += other.failed_day;
    }
}

/// What is shown; conditions on `n.domain` follow. A domain is one that has a row, waits, or has answered within a day.
const OVERVIEW: &str = "
WITH chunks AS (
         SELECT destination AS domain, coalesce(sum(cost) FILTER (WHERE state <> 'running'), 0)::bigint AS queued,
                coalesce(sum(cost) FILTER (WHERE state = 'running'), 0)::bigint AS running, min(created_at) AS oldest_at
         FROM jobs WHERE state IN ('queued', 'scheduled', 'running') AND destination <> '' GROUP BY destination),
     later AS (
         SELECT d.domain, count(*) AS deferred, min(coalesce(d.first_attempt_at, d.created_at)) AS oldest_at
         FROM campaigns c JOIN deliveries d ON d.campaign_id = c.id AND d.next_attempt_at IS NOT NULL
         WHERE c.state IN ('sending', 'paused') GROUP BY d.domain),
     hours AS (
         SELECT domain, coalesce(sum(accepted) FILTER (WHERE hour = date_trunc('hour', now(), 'UTC')), 0)::bigint AS accepted_hour,
                coalesce(sum(deferred) FILTER (WHERE hour = date_trunc('hour', now(), 'UTC')), 0)::bigint AS deferred_hour,
                coalesce(sum(failed) FILTER (WHERE hour = date_trunc('hour', now(), 'UTC')), 0)::bigint AS failed_hour,
                coalesce(sum(accepted), 0)::bigint AS accepted_day, coalesce(sum(deferred), 0)::bigint AS deferred_day,
                coalesce(sum(failed), 0)::bigint AS failed_day
         FROM destination_hours WHERE hour > now() - interval '24 hours' GROUP BY domain),
     names AS (
         SELECT domain FROM destinations UNION SELECT domain FROM chunks UNION SELECT domain FROM later UNION SELECT domain FROM hours)
SELECT n.domain, d.rate_per_second, d.max_connections, d.adaptive_rate, d.cooldown_until, d.suspended_until, d.reason, d.rule,
       d.last_reply, d.slowed_at, d.updated_at, d.limits_set_at, coalesce(h.accepted_hour, 0) AS accepted_hour,
       coalesce(h.deferred_hour, 0) AS deferred_hour, coalesce(h.failed_hour, 0) AS failed_hour,
       coalesce(h.accepted_day, 0) AS accepted_day, coalesce(h.deferred_day, 0) AS deferred_day, coalesce(h.failed_day, 0) AS failed_day,
       coalesce(c.queued, 0) + coalesce(l.deferred, 0) AS queued, coalesce(c.running, 0) AS in_flight,
       least(c.oldest_at, l.oldest_at) AS oldest_at, coalesce(r.mail_hosts, '{}') AS mail_hosts,
       extract(epoch FROM now() - date_trunc('hour', now(), 'UTC'))::float8 AS hour_seconds, count(*) OVER () AS total
FROM names n LEFT JOIN destinations d ON d.domain = n.domain LEFT JOIN chunks c ON c.domain = n.domain
LEFT JOIN later l ON l.domain = n.domain LEFT JOIN hours h ON h.domain = n.domain LEFT JOIN recipient_domains r ON r.domain = n.domain ";

#[derive(FromRow)]
struct Row {
    total: i64,
    #[sqlx(flatten)]
    overview: Overview,
}

/// The recipient domains, by name. `search` is a part of the name.
///
/// # Errors
/// The database failed.
pub async fn by_domain(pool: &PgPool, rules: &Rules, search: &str, request: PageRequest) -> Result<Page<Overview>> {
    let mut query = QueryBuilder::new(OVERVIEW);
    query.push("WHERE position(':' IN n.domain) = 0 AND position(").push_bind(search.to_lowercase());
    query.push(" IN n.domain) > 0 ORDER BY n.domain LIMIT ").push_bind(request.limit).push(" OFFSET ").push_bind(request.offset());
    let rows: Vec<Row> = query.build_query_as().fetch_all(pool).await?;
    let total = rows.first().map_or(0, |row| row.total);
    let states = destination::all(pool).await?;
    let shown = rows.into_iter().map(|row| shaped(row.overview, rules, &states)).collect();
    Ok(Page::new(request, total, shown))
}

/// Every provider of the shaping file, by name, with the domains that it is known to run taken together.
///
/// # Errors
/// The database failed.
pub async fn by_provider(pool: &PgPool, rules: &Rules, search: &str, request: PageRequest) -> Result<Page<Overview>> {
    let providers = providers(pool, rules).await?;
    let search = search.to_lowercase();
    let found: Vec<Overview> = providers.into_values().filter(|one| one.domain.contains(&search)).collect();
    let total = i64::try_from(found.len()).unwrap_or(i64::MAX);
    let skip = usize::try_from(request.offset()).unwrap_or(usize::MAX);
    let take = usize::try_from(request.limit).unwrap_or(0);
    Ok(Page::new(request, total, found.into_iter().skip(skip).take(take).collect()))
}

/// One destination: a domain, or `provider:NAME`.
///
/// # Errors
/// [`Error::Invalid`]: neither. [`Error::NotFound`]: nothing is known of it.
pub async fn find(pool: &PgPool, rules: &Rules, name: &str) -> Result<Overview> {
    let scope = limits::checked(name)?;
    if let Some(provider) = scope.strip_prefix("provider:")
        && let Some(found) = providers(pool, rules).await?.remove(provider)
    {
        return Ok(found);
    }
    let mut query = QueryBuilder::new(OVERVIEW);
    query.push("WHERE n.domain = ").push_bind(scope.clone());
    let row: Option<Row> = query.build_query_as().fetch_optional(pool).await?;
    let row = row.ok_or_else(|| Error::not_found("destination", scope))?;
    Ok(shaped(row.overview, rules, &destination::all(pool).await?))
}

async fn providers(pool: &PgPool, rules: &Rules) -> Result<BTreeMap<Arc<str>, Overview>> {
    let rows: Vec<Row> = sqlx::query_as(OVERVIEW).fetch_all(pool).await?;
    let states = destination::all(pool).await?;
    let mut rows: BTreeMap<String, Overview> = rows.into_iter().map(|row| (row.overview.domain.clone(), row.overview)).collect();
    let empty = |scope: String| Overview { domain: scope, ..Overview::default() };
    let mut found: BTreeMap<Arc<str>, Overview> = rules
        .provider_names()
        .map(|name| {
            let scope = provider_scope(name);
            (name.clone(), rows.remove(&scope).unwrap_or_else(|| empty(scope)))
        })
        .collect();
    for row in rows.values() {
        let provider = rules.provider_by_name(&row.domain).or_else(|| rules.provider_by_hosts(&row.mail_hosts));
        if let Some(all) = provider.and_then(|name| found.get_mut(name)) {
            all.take_in(row);
            all.hour_seconds = row.hour_seconds;
        }
    }
    for (name, overview) in &mut found {
        allow(overview, rules, &states, Some(name), "");
        overview.provider = Some(name.to_string());
    }
    Ok(found)
}

fn shaped(mut overview: Overview, rules: &Rules, states: &std::collections::HashMap<String, Destination>) -> Overview {
    let provider = rules.provider_by_name(&overview.domain).or_else(|| rules.provider_by_hosts(&overview.mail_hosts)).cloned();
    let domain = overview.domain.clone();
    allow(&mut overview, rules, states, provider.as_ref(), &domain);
    overview.provider = provider.map(|name| name.to_string());
    overview
}

/// What the levels of the destination allow, without those of a route or of a workspace.
fn allow(
    overview: &mut Overview,
    rules: &Rules,
    states: &std::collections::HashMap<String, Destination>,
    provider: Option<&Arc<str>>,
    domain: &str,
) {
    let asked = Asked {
        domain,
        provider,
        route_id: Uuid::nil(),
        route: "",
        route_rate: None,
        workspace_id: Uuid::nil(),
        now: DateTime::default(),
    };
    let unlimited = Retry { first_seconds: 0.0, factor: 1.0, jitter: 0.0, longest_seconds: 0.0, expire_seconds: f64::INFINITY };
    let shape = rules.resolve(&asked, states, &unlimited);
    overview.allowed_per_second = shape.allowed_per_second();
    overview.allowed_connections = shape.connections();
}
