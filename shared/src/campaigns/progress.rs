//! The question that is asked most: how far a campaign is. One statement, so that all numbers are of one moment.

use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgPool, types::Json};
use uuid::Uuid;

use crate::{
    accounts::scope::Scope,
    error::{Error, Result},
};

/// How far a campaign is. accepted + bounced + failed + suppressed + cancelled + unknown + deferred + pending + in flight = audience.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "described at deliveries::tally::Tally")]
pub struct Progress {
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
    /// Accepted messages per second over the last 10 s, or since the launch.
    pub rate_per_second: f64,
    /// At that rate; null where it is unknown.
    pub eta_seconds: Option<f64>,
    /// Twenty at most: where most is left, then the largest.
    pub destinations: Vec<DestinationProgress>,
}

/// How far a campaign is with one recipient domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described at deliveries::tally::Tally")]
pub struct DestinationProgress {
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
    rate_per_second: f64,
    destinations: Json<Vec<DestinationProgress>>,
}

/// Asks.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Forbidden`]: another workspace's.
pub async fn of(pool: &PgPool, scope: Scope, campaign_id: Uuid) -> Result<Progress> {
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
         SELECT c.workspace_id, c.state, c.audience, t.accepted, t.bounced, t.failed, t.suppressed, t.cancelled, t.unknown,
                t.deferred, coalesce(c.audience, c.launch_counted) - t.rows AS pending, t.in_flight,
                t.recent / greatest(1, least(10, extract(epoch FROM now() - c.launched_at)::double precision)) AS rate_per_second,
                (SELECT coalesce(jsonb_agg(to_jsonb(s) - 'rows' ORDER BY s.rows - s.accepted DESC, s.rows DESC, s.domain), '[]')
                 FROM shown s) AS destinations
         FROM campaigns c CROSS JOIN total t WHERE c.id = $1 AND c.deleted_at IS NULL",
    )
    .bind(campaign_id)
    .fetch_optional(pool)
    .await?;
    let row = row.ok_or_else(|| Error::not_found("campaign", campaign_id))?;
    scope.may_read("campaign", campaign_id, row.workspace_id)?;
    let left = row.pending + row.deferred + row.in_flight;
    let known = row.state == "sending" && row.audience.is_some() && row.rate_per_second > 0.0;
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let eta_seconds = known.then(|| (left as f64 / row.rate_per_second).ceil());
    Ok(Progress {
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
        rate_per_second: row.rate_per_second,
        eta_seconds,
        destinations: row.destinations.0,
    })
}
