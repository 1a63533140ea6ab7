//! What an operator sees and sets of a destination.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgPool, QueryBuilder};

use crate::{
    address,
    error::{Error, FieldError, Result},
    page::{Page, PageRequest},
};

/// A destination as an operator sees it, with its replies of the last hour and the last day.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0002_queue.sql")]
pub struct Overview {
    pub domain: String,
    pub rate_per_second: Option<f64>,
    pub max_connections: Option<i32>,
    pub adaptive_rate: Option<f64>,
    pub cooldown_until: Option<DateTime<Utc>>,
    pub suspended_until: Option<DateTime<Utc>>,
    pub reason: Option<String>,
    pub last_reply: Option<String>,
    pub slowed_at: Option<DateTime<Utc>>,
    pub accepted_hour: i64,
    pub deferred_hour: i64,
    pub failed_hour: i64,
    pub accepted_day: i64,
    pub deferred_day: i64,
    pub failed_day: i64,
    pub updated_at: DateTime<Utc>,
}

/// What is shown of a destination; the condition follows.
const OVERVIEW: &str =
    "SELECT d.domain, d.rate_per_second, d.max_connections, d.adaptive_rate, d.cooldown_until, d.suspended_until, d.reason,
            d.last_reply, d.slowed_at, d.updated_at, h.*
     FROM destinations d CROSS JOIN LATERAL (
         SELECT coalesce(sum(accepted) FILTER (WHERE hour = date_trunc('hour', now(), 'UTC')), 0)::bigint AS accepted_hour,
                coalesce(sum(deferred) FILTER (WHERE hour = date_trunc('hour', now(), 'UTC')), 0)::bigint AS deferred_hour,
                coalesce(sum(failed) FILTER (WHERE hour = date_trunc('hour', now(), 'UTC')), 0)::bigint AS failed_hour,
                coalesce(sum(accepted), 0)::bigint AS accepted_day, coalesce(sum(deferred), 0)::bigint AS deferred_day,
                coalesce(sum(failed), 0)::bigint AS failed_day
         FROM destination_hours WHERE domain = d.domain AND hour > now() - interval '24 hours') h ";

/// The destinations with a row, by name. `search` is a part of the domain.
///
/// # Errors
/// The database failed.
pub async fn page(pool: &PgPool, search: &str, request: PageRequest) -> Result<Page<Overview>> {
    let total = sqlx::query_scalar("SELECT count(*) FROM destinations WHERE position($1 IN domain) > 0")
        .bind(search.to_lowercase())
        .fetch_one(pool)
        .await?;
    let mut query = QueryBuilder::new(OVERVIEW);
    query.push("WHERE position(").push_bind(search.to_lowercase()).push(" IN d.domain) > 0 ORDER BY d.domain LIMIT ");
    query.push_bind(request.limit).push(" OFFSET ").push_bind(request.offset());
    Ok(Page::new(request, total, query.build_query_as().fetch_all(pool).await?))
}

/// One destination; one without a row has no limits.
///
/// # Errors
/// [`Error::Invalid`]: not a domain. [`Error::NotFound`]: no row.
pub async fn find(pool: &PgPool, domain: &str) -> Result<Overview> {
    let domain = checked(domain)?;
    let mut query = QueryBuilder::new(OVERVIEW);
    query.push("WHERE d.domain = ").push_bind(domain.clone());
    query.build_query_as().fetch_optional(pool).await?.ok_or_else(|| Error::not_found("destination", domain))
}

/// Sets an operator's limits; `None` takes one away.
///
/// # Errors
/// [`Error::Invalid`] names every wrong field.
pub async fn set(
    connection: &mut PgConnection,
    domain: &str,
    rate_per_second: Option<f64>,
    max_connections: Option<i32>,
) -> Result<()> {
    let mut errors = Vec::new();
    let checked =
        address::parse_domain(domain).map_err(|reason| errors.push(FieldError::new("domain", format!("{domain:?} {reason}"))));
    if let Some(rate) = rate_per_second
        && !(rate.is_finite() && rate > 0.0)
    {
        errors.push(FieldError::new("rate_per_second", format!("must be more than 0, not {rate}")));
    }
    if let Some(connections) = max_connections
        && !(1..=10_000).contains(&connections)
    {
        errors.push(FieldError::new("max_connections", format!("must be between 1 and 10000, not {connections}")));
    }
    let (Ok(domain), true) = (checked, errors.is_empty()) else { return Err(Error::Invalid(errors)) };
    sqlx::query(
        "INSERT INTO destinations (domain, rate_per_second, max_connections) VALUES ($1, $2, $3)
         ON CONFLICT (domain) DO UPDATE SET rate_per_second = $2, max_connections = $3, updated_at = now()",
    )
    .bind(domain)
    .bind(rate_per_second)
    .bind(max_connections)
    .execute(connection)
    .await?;
    Ok(())
}

/// Lifts cooldown, suspension and what the replies taught us.
///
/// # Errors
/// [`Error::Invalid`]: not a domain. [`Error::NotFound`]: no row.
pub async fn resume(connection: &mut PgConnection, domain: &str) -> Result<()> {
    let domain = checked(domain)?;
    let resumed = sqlx::query(
        "UPDATE destinations SET cooldown_until = NULL, suspended_until = NULL, adaptive_rate = NULL, reason = NULL, updated_at = now()
         WHERE domain = $1",
    )
    .bind(&domain)
    .execute(connection)
    .await?
    .rows_affected();
    if resumed == 1 { Ok(()) } else { Err(Error::not_found("destination", domain)) }
}

fn checked(domain: &str) -> Result<String> {
    address::parse_domain(domain).map_err(|reason| Error::invalid("domain", format!("{domain:?} {reason}")))
}
