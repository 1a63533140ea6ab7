//! The question that is asked most: how far a campaign is. One statement, so that all numbers are of one moment.
//!
//! It counts the ledger's rows, 1 to 2 s of processor time for a million of them: [`Counts`] keeps whoever watches a large campaign from
//! slowing it down.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgPool, types::Json};
use uuid::Uuid;

use crate::{
    accounts::scope::Scope,
    error::{Error, Result},
};

/// How far a campaign is. accepted + bounced + failed + suppressed + cancelled + unknown + deferred + pending + in flight = audience.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[expect(missing_docs, reason = "described at deliveries::tally::Tally")]
#[schema(as = CampaignProgress)]
pub struct Progress {
    #[schema(value_type = super::campaign::State)]
    pub state: String,
    /// Null until the launch has counted everybody; the sum is of those counted so far then.
    pub audience: Option<i64>,
    pub accepted: i64,
    pub bounced: i64,
    pub failed: i64,
    pub suppressed: i64,
    pub cancelled: i64,
    pub unknown: i64,
    pub deferred: i64,
    pub pending: i64,
    pub in_flight: i64,
    /// Recipients who called the mail spam: a mark beside their state, not one of the sum.
    pub complained: i64,
    /// Accepted messages per second over the last 10 s, or since the launch.
    pub rate_per_second: f64,
    /// At that rate; null where it is unknown.
    pub eta_seconds: Option<f64>,
    /// Twenty at most: where most is left, then the largest.
    pub destinations: Vec<DestinationProgress>,
}

/// How far a campaign is with one recipient domain.
#[derive(Clone, Debug, Hash, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[expect(missing_docs, reason = "described at deliveries::tally::Tally")]
pub struct DestinationProgress {
    #[schema(example = "example.com")]
    pub domain: String,
    pub accepted: i64,
    pub bounced: i64,
    pub failed: i64,
    pub suppressed: i64,
    pub cancelled: i64,
    pub unknown: i64,
    pub deferred: i64,
    pub in_flight: i64,
}

/// A count that was quicker is taken anew each time.
const QUICK: Duration = Duration::from_millis(20);
/// A count serves for so many times as long as it took: watching takes a tenth of one core at most, however many watch.
const SHARE: u32 = 10;
/// The oldest that an answer may be.
const OLDEST: Duration = Duration::from_secs(5);
/// Campaigns that are remembered at most.
const REMEMBERED: usize = 1_000;

/// The last counts of the process. Of those who ask for one campaign at the same time, one counts. An answer is as old as [`OLDEST`] at
/// most, its state never: a change of state is a new count.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    campaigns: Arc<Mutex<HashMap<Uuid, Slot>>>,
}

/// The last count of one campaign; held by whoever counts.
type Slot = Arc<tokio::sync::Mutex<Option<Counted>>>;

#[derive(Debug)]
struct Counted {
    progress: Progress,
    at: Instant,
    took: Duration,
}

impl Counted {
    fn serves(&self, state: &str) -> bool {
        self.took >= QUICK && self.progress.state == state && self.at.elapsed() < (self.took * SHARE).min(OLDEST)
    }
}

impl Counts {
    /// How far the campaign is, or was a moment ago.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Forbidden`]: another workspace's.
    pub async fn of(&self, pool: &PgPool, scope: Scope, campaign_id: Uuid) -> Result<Progress> {
        let known: Option<(Uuid, String)> =
            sqlx::query_as("SELECT workspace_id, state FROM campaigns WHERE id = $1 AND deleted_at IS NULL")
                .bind(campaign_id)
                .fetch_optional(pool)
                .await?;
        let (workspace_id, state) = known.ok_or_else(|| Error::not_found("campaign", campaign_id))?;
        scope.may_read("campaign", campaign_id, workspace_id)?;
        let slot = self.slot(campaign_id);
        let mut last = slot.lock().await;
        if let Some(counted) = last.as_ref().filter(|counted| counted.serves(&state)) {
            return Ok(counted.progress.clone());
        }
        let at = Instant::now();
        let progress = of(pool, scope, campaign_id).await?;
        *last = Some(Counted { progress: progress.clone(), at, took: at.elapsed() });
        Ok(progress)
    }

    fn slot(&self, campaign_id: Uuid) -> Slot {
        let mut campaigns = self.campaigns.lock();
        if campaigns.len() >= REMEMBERED && !campaigns.contains_key(&campaign_id) {
            // Whoever is counting keeps its slot.
            campaigns.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        campaigns.entry(campaign_id).or_default().clone()
    }
}

#[derive(FromRow)]
struct Row {
    workspace_id: Uuid,
    state: String,
    audience: Option<i64>,
    accepted: i64,
    bounced: i64,
    failed: i64,
    suppressed: i64,
    cancelled: i64,
    unknown: i64,
    deferred: i64,
    pending: i64,
    in_flight: i64,
    complained: i64,
    rate_per_second: f64,
    destinations: Json<Vec<DestinationProgress>>,
}

/// Asks.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Forbidden`]: another workspace's.
pub async fn of(pool: &PgPool, scope: Scope, campaign_id: Uuid) -> Result<Progress> {
    let (owner, progress) = counted(pool, campaign_id).await?.ok_or_else(|| Error::not_found("campaign", campaign_id))?;
    scope.may_read("campaign", campaign_id, owner)?;
    Ok(progress)
}

/// Asks for the house: the campaign's workspace, and how far it is; nothing where it is not there.
///
/// # Errors
/// The database failed.
pub async fn counted(pool: &PgPool, campaign_id: Uuid) -> Result<Option<(Uuid, Progress)>> {
    let row: Option<Row> = sqlx::query_as(
        "WITH domains AS MATERIALIZED (
             SELECT domain, count(*) AS rows,
                 count(*) FILTER (WHERE state = 'accepted') AS accepted, count(*) FILTER (WHERE state = 'bounced') AS bounced,
                 count(*) FILTER (WHERE state = 'failed') AS failed, count(*) FILTER (WHERE state = 'suppressed') AS suppressed,
                 count(*) FILTER (WHERE state = 'cancelled') AS cancelled, count(*) FILTER (WHERE state = 'unknown') AS unknown,
                 count(*) FILTER (WHERE state = 'deferred') AS deferred, count(*) FILTER (WHERE state = 'sending') AS in_flight,
                 count(*) FILTER (WHERE state = 'accepted' AND last_attempt_at > now() - interval '10 seconds') AS recent
             FROM deliveries WHERE campaign_id = $1 GROUP BY domain),
         total AS (
             SELECT coalesce(sum(rows), 0)::bigint AS rows,
                 coalesce(sum(accepted), 0)::bigint AS accepted, coalesce(sum(bounced), 0)::bigint AS bounced,
                 coalesce(sum(failed), 0)::bigint AS failed, coalesce(sum(suppressed), 0)::bigint AS suppressed,
                 coalesce(sum(cancelled), 0)::bigint AS cancelled, coalesce(sum(unknown), 0)::bigint AS unknown,
                 coalesce(sum(deferred), 0)::bigint AS deferred, coalesce(sum(in_flight), 0)::bigint AS in_flight,
                 coalesce(sum(recent), 0)::double precision AS recent
             FROM domains),
         shown AS (
             SELECT domain, rows, accepted, bounced, failed, suppressed, cancelled, unknown, deferred, in_flight
             FROM domains WHERE domain <> '' ORDER BY rows - accepted DESC, rows DESC, domain LIMIT 20)
         SELECT c.workspace_id, c.state, c.audience, t.accepted + coalesce(r.accepted, 0) AS accepted,
                t.bounced + coalesce(r.bounced, 0) AS bounced, t.failed + coalesce(r.failed, 0) AS failed,
                t.suppressed + coalesce(r.suppressed, 0) AS suppressed, t.cancelled + coalesce(r.cancelled, 0) AS cancelled,
                t.unknown + coalesce(r.unknown, 0) AS unknown, t.deferred,
                coalesce(c.audience, c.launch_counted) - t.rows
                    - coalesce(r.accepted + r.bounced + r.failed + r.suppressed + r.cancelled + r.unknown, 0) AS pending, t.in_flight,
                coalesce((SELECT complained FROM campaign_complaints WHERE campaign_id = c.id), 0) AS complained,
                t.recent / greatest(1, least(10, extract(epoch FROM now() - c.launched_at)::double precision)) AS rate_per_second,
                (SELECT coalesce(jsonb_agg(to_jsonb(s) - 'rows' ORDER BY s.rows - s.accepted DESC, s.rows DESC, s.domain), '[]')
                 FROM shown s) AS destinations
         FROM campaigns c CROSS JOIN total t LEFT JOIN delivery_tallies r ON r.campaign_id = c.id
         WHERE c.id = $1 AND c.deleted_at IS NULL",
    )
    .bind(campaign_id)
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let left = row.pending + row.deferred + row.in_flight;
    let known = row.state == "sending" && row.audience.is_some() && row.rate_per_second > 0.0;
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let eta_seconds = known.then(|| (left as f64 / row.rate_per_second).ceil());
    let progress = Progress {
        state: row.state,
        audience: row.audience,
        accepted: row.accepted,
        bounced: row.bounced,
        failed: row.failed,
        suppressed: row.suppressed,
        cancelled: row.cancelled,
        unknown: row.unknown,
        deferred: row.deferred,
        pending: row.pending,
        in_flight: row.in_flight,
        complained: row.complained,
        rate_per_second: row.rate_per_second,
        eta_seconds,
        destinations: row.destinations.0,
    };
    Ok(Some((row.workspace_id, progress)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(took: Duration, age: Duration) -> Counted {
        let progress = Progress {
            state: "sending".to_owned(),
            audience: Some(0),
            accepted: 0,
            bounced: 0,
            failed: 0,
            suppressed: 0,
            cancelled: 0,
            unknown: 0,
            deferred: 0,
            pending: 0,
            in_flight: 0,
            complained: 0,
            rate_per_second: 0.0,
            eta_seconds: None,
            destinations: Vec::new(),
        };
        Counted { progress, at: Instant::now().checked_sub(age).expect("the machine has run for a minute"), took }
    }

    #[test]
    fn a_dear_count_serves_for_ten_times_its_cost_but_not_for_another_state_nor_for_ever() {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        assert!(counted(ms(200), s(1)).serves("sending"));
        assert!(!counted(ms(200), s(1)).serves("paused"));
        assert!(!counted(ms(200), s(3)).serves("sending"));
        assert!(!counted(s(2), s(6)).serves("sending"));
        assert!(!counted(ms(5), Duration::ZERO).serves("sending"), "a quick one is taken anew");
    }
}
