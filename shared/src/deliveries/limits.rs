//! What an operator sets of a destination: limits, a suspension, and the end of one. [`super::overview`] shows them.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    address,
    error::{Error, FieldError, Result},
    version::Expected,
};

/// Nobody is suspended for longer.
const LONGEST_SUSPENSION: TimeDelta = TimeDelta::days(366);
/// Longer reasons are refused.
const LONGEST_REASON: usize = 200;

/// Sets an operator's limits; `None` takes one away. They take the place of the shaping file's.
///
/// # Errors
/// [`Error::Invalid`] names every wrong field; [`Error::Outdated`]: the limits are not what was expected, and the transaction is to be given
/// up.
pub async fn set(
    connection: &mut PgConnection,
    name: &str,
    rate_per_second: Option<f64>,
    max_connections: Option<i32>,
    expected: &Expected,
) -> Result<()> {
    let mut errors = Vec::new();
    let checked = parse(name).map_err(|reason| errors.push(FieldError::new("domain", reason)));
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
    let (Ok(scope), true) = (checked, errors.is_empty()) else { return Err(Error::Invalid(errors)) };
    sqlx::query("INSERT INTO destinations (domain) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(&scope)
        .execute(&mut *connection)
        .await?;
    let set_at: Option<DateTime<Utc>> = sqlx::query_scalar("SELECT limits_set_at FROM destinations WHERE domain = $1 FOR UPDATE")
        .bind(&scope)
        .fetch_one(&mut *connection)
        .await?;
    expected.check("destination", name, set_at.unwrap_or_default())?;
    sqlx::query(
        "UPDATE destinations SET rate_per_second = $2, max_connections = $3, limits_set_at = clock_timestamp(), updated_at = now()
         WHERE domain = $1",
    )
    .bind(&scope)
    .bind(rate_per_second)
    .bind(max_connections)
    .execute(connection)
    .await?;
    Ok(())
}

/// Starts nothing there until then.
///
/// # Errors
/// [`Error::Invalid`] names every wrong field.
pub async fn suspend(
    connection: &mut PgConnection,
    name: &str,
    until: DateTime<Utc>,
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> Result<()> {
    let mut errors = Vec::new();
    let checked = parse(name).map_err(|reason| errors.push(FieldError::new("domain", reason)));
    if until <= now || until > now + LONGEST_SUSPENSION {
        errors.push(FieldError::new("until", format!("must be within the next 366 days, not {}", until.to_rfc3339())));
    }
    let reason = reason.map_or("suspended by an operator", str::trim);
    if reason.is_empty() || reason.chars().count() > LONGEST_REASON || reason.contains('\0') {
        errors.push(FieldError::new("reason", format!("must have between 1 and {LONGEST_REASON} characters")));
    }
    let (Ok(scope), true) = (checked, errors.is_empty()) else { return Err(Error::Invalid(errors)) };
    sqlx::query(
        "INSERT INTO destinations (domain, suspended_until, reason) VALUES ($1, $2, $3)
         ON CONFLICT (domain) DO UPDATE SET suspended_until = $2, reason = $3, rule = NULL, updated_at = now()",
    )
    .bind(scope)
    .bind(until)
    .bind(reason)
    .execute(connection)
    .await?;
    Ok(())
}

/// Lifts cooldown, suspension and what the replies taught us, and brings forward what waits for that.
///
/// # Errors
/// [`Error::Invalid`]: not a destination. [`Error::NotFound`]: no row.
pub async fn resume(connection: &mut PgConnection, name: &str) -> Result<()> {
    let scope = checked(name)?;
    let resumed = sqlx::query(
        "UPDATE destinations SET cooldown_until = NULL, suspended_until = NULL, adaptive_rate = NULL, adaptive_step = NULL,
             adaptive_from = NULL, adaptive_connections = NULL, hold_until = NULL, bounce_until = NULL, rule = NULL, reason = NULL,
             updated_at = now()
         WHERE domain = $1",
    )
    .bind(&scope)
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if resumed == 0 {
        return Err(Error::not_found("destination", scope));
    }
    sqlx::query("DELETE FROM shaping_hits WHERE scope = $1").bind(&scope).execute(connection).await?;
    Ok(())
}

/// The name under which a destination has its row.
///
/// # Errors
/// [`Error::Invalid`]: neither a domain nor a provider.
pub(super) fn checked(name: &str) -> Result<String> {
    parse(name).map_err(|reason| Error::invalid("domain", reason))
}

fn parse(name: &str) -> Result<String, String> {
    let Some(rest) = name.strip_prefix("provider:") else {
        return address::parse_domain(name).map_err(|reason| format!("{name:?} {reason}"));
    };
    let (provider, route) = rest.split_once(" route:").map_or((rest, None), |(provider, route)| (provider, Some(route)));
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let known = (1..=32).contains(&provider.len()) && provider.chars().all(fits);
    if known && route.is_none_or(|route| route.parse::<Uuid>().is_ok()) {
        Ok(name.to_owned())
    } else {
        Err(format!("{name:?} is neither a domain nor a provider such as provider:google"))
    }
}
