//! Counting a campaign: always the rows themselves, in one snapshot, so that the sum cannot drift; with those that retention has removed,
//! which it counted in the transaction that removed them.

use serde::Serialize;
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use crate::error::{Error, Result};

/// Where the recipients of a campaign are. They add up to the audience at every moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromRow, Serialize)]
pub struct Tally {
    /// Frozen recipients; null until the launch has counted them all.
    pub audience: Option<i64>,
    /// The server took responsibility.
    pub accepted: i64,
    /// The address or its domain is at fault.
    pub bounced: i64,
    /// Refused for good, expired or an error of ours.
    pub failed: i64,
    /// Not to be written to.
    pub suppressed: i64,
    /// The campaign was cancelled first.
    pub cancelled: i64,
    /// In doubt.
    pub unknown: i64,
    /// Waiting for another attempt.
    pub deferred: i64,
    /// Not tried yet.
    pub pending: i64,
    /// On the wire.
    pub in_flight: i64,
}

impl Tally {
    /// Recipients in all states together.
    #[must_use]
    pub fn sum(&self) -> i64 {
        self.accepted
            + self.bounced
            + self.failed
            + self.suppressed
            + self.cancelled
            + self.unknown
            + self.deferred
            + self.pending
            + self.in_flight
    }
}

/// Counts the campaign in one snapshot.
///
/// # Errors
/// [`Error::NotFound`], or the database failed.
pub async fn count(pool: &PgPool, campaign_id: Uuid) -> Result<Tally> {
    sqlx::query_as(
        "SELECT c.audience, t.accepted + coalesce(r.accepted, 0) AS accepted, t.bounced + coalesce(r.bounced, 0) AS bounced,
                t.failed + coalesce(r.failed, 0) AS failed, t.suppressed + coalesce(r.suppressed, 0) AS suppressed,
                t.cancelled + coalesce(r.cancelled, 0) AS cancelled, t.unknown + coalesce(r.unknown, 0) AS unknown, t.deferred,
                coalesce(c.audience, c.launch_counted) - t.rows
                    - coalesce(r.accepted + r.bounced + r.failed + r.suppressed + r.cancelled + r.unknown, 0) AS pending, t.in_flight
         FROM campaigns c LEFT JOIN delivery_tallies r ON r.campaign_id = c.id CROSS JOIN LATERAL (
             SELECT count(*) AS rows,
                 count(*) FILTER (WHERE state = 'accepted') AS accepted, count(*) FILTER (WHERE state = 'bounced') AS bounced,
                 count(*) FILTER (WHERE state = 'failed') AS failed, count(*) FILTER (WHERE state = 'suppressed') AS suppressed,
                 count(*) FILTER (WHERE state = 'cancelled') AS cancelled, count(*) FILTER (WHERE state = 'unknown') AS unknown,
                 count(*) FILTER (WHERE state = 'deferred') AS deferred, count(*) FILTER (WHERE state = 'sending') AS in_flight
             FROM deliveries d WHERE d.campaign_id = c.id) t
         WHERE c.id = $1",
    )
    .bind(campaign_id)
    .fetch_optional(pool)
    .await?
    .ok_or_else(|| Error::not_found("campaign", campaign_id))
}
