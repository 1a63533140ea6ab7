//! Counts of hours and days: messages are bought here before they are sent, so that no two processes sell the same one, and a flushed Redis
//! forgets nothing.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{FromRow, PgPool};

use super::shaping::Level;
use crate::{database, error::Result};

/// One count of a purchase.
#[derive(Clone, Debug, PartialEq)]
pub struct Count {
    /// The level's scope.
    pub scope: String,
    /// `hour` or `day`.
    pub period: &'static str,
    /// When the hour or the day began.
    pub starts_at: DateTime<Utc>,
    /// Messages that it has.
    pub most: i64,
}

impl Count {
    /// When the next one begins.
    #[must_use]
    pub fn ends_at(&self) -> DateTime<Utc> {
        self.starts_at + if self.period == "hour" { TimeDelta::hours(1) } else { TimeDelta::days(1) }
    }
}

/// The counts of these levels at a moment of business time, in the order in which they are locked.
#[must_use]
pub fn counts<'a>(levels: impl IntoIterator<Item = &'a Level>, now: DateTime<Utc>) -> Vec<Count> {
    let day = now.date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
    let hour = day + TimeDelta::hours((now - day).num_hours());
    let mut counts: Vec<Count> = levels
        .into_iter()
        .flat_map(|level| {
            let count = |period, starts_at, most| Count { scope: level.scope.to_string(), period, starts_at, most };
            let hours = level.per_hour.map(|most| count("hour", hour, i64::from(most)));
            hours.into_iter().chain(level.per_day.map(|most| count("day", day, i64::from(most))))
        })
        .collect();
    counts.sort_by(|a, b| (&a.scope, a.period).cmp(&(&b.scope, b.period)));
    counts
}

#[derive(FromRow)]
struct Row {
    scope: String,
    period: String,
    taken: i64,
}

/// Buys up to `wanted` messages of all these counts at once. Answers how many, and the count that had none left.
///
/// # Errors
/// The database failed: nothing was bought.
pub async fn buy(pool: &PgPool, counts: &[Count], wanted: u32) -> Result<(u32, Option<Count>)> {
    let scopes: Vec<&str> = counts.iter().map(|count| count.scope.as_str()).collect();
    let periods: Vec<&str> = counts.iter().map(|count| count.period).collect();
    let starts: Vec<DateTime<Utc>> = counts.iter().map(|count| count.starts_at).collect();
    let mut transaction = database::begin(pool).await?;
    sqlx::query(
        "INSERT INTO shaping_counts (scope, period, starts_at)
         SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[]) ON CONFLICT DO NOTHING",
    )
    .bind(&scopes)
    .bind(&periods)
    .bind(&starts)
    .execute(&mut *transaction)
    .await?;
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT c.scope, c.period, c.taken FROM shaping_counts c
         JOIN unnest($1::text[], $2::text[], $3::timestamptz[]) AS u (scope, period, starts_at) USING (scope, period, starts_at)
         ORDER BY c.scope, c.period FOR UPDATE OF c",
    )
    .bind(&scopes)
    .bind(&periods)
    .bind(&starts)
    .fetch_all(&mut *transaction)
    .await?;
    let room = |count: &Count| {
        let taken =
            rows.iter().find(|row| row.scope == count.scope && row.period == count.period).map_or(count.most, |row| row.taken);
        u32::try_from((count.most - taken).max(0)).unwrap_or(u32::MAX)
    };
    // Of several that are full, the one that stays so for longest.
    let full = counts.iter().filter(|count| room(count) == 0).max_by_key(|count| count.ends_at());
    let bought = counts.iter().map(room).min().unwrap_or(wanted).min(wanted);
    if bought == 0 {
        return Ok((0, full.cloned()));
    }
    add(&mut transaction, counts, i64::from(bought)).await?;
    transaction.commit().await?;
    Ok((bought, None))
}

/// Gives back what was bought and not used.
///
/// # Errors
/// The database failed: it counts as used.
pub async fn give_back(pool: &PgPool, counts: &[Count], unused: u32) -> Result<()> {
    add(&mut *pool.acquire().await?, counts, -i64::from(unused)).await
}

async fn add(connection: &mut sqlx::PgConnection, counts: &[Count], messages: i64) -> Result<()> {
    for count in counts {
        sqlx::query(
            "UPDATE shaping_counts SET taken = greatest(taken + $4, 0), updated_at = now()
             WHERE scope = $1 AND period = $2 AND starts_at = $3",
        )
        .bind(&count.scope)
        .bind(count.period)
        .bind(count.starts_at)
        .bind(messages)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Forgets counts of days that began before.
///
/// # Errors
/// The database failed.
pub async fn prune(pool: &PgPool, before: DateTime<Utc>) -> Result<u64> {
    Ok(sqlx::query("DELETE FROM shaping_counts WHERE starts_at < $1").bind(before).execute(pool).await?.rows_affected())
}
