//! Dead jobs, and putting them back in line: first what would happen, then doing it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use crate::{
    accounts::scope::Scope,
    campaigns::transitions,
    database,
    error::{Error, Result},
    queue::inspect::{self, Dead, Extent},
};

/// Dead jobs of one kind that share a fate.
#[derive(Clone, Debug, PartialEq, Eq, FromRow, Serialize)]
pub struct Group {
    /// What kind of job.
    pub kind: String,
    /// Where it waits.
    pub lane: String,
    /// How many.
    pub jobs: i64,
    /// Why they stay where they are; `None`: they go back in line.
    pub refused: Option<String>,
    /// The newest error among them.
    pub last_error: Option<String>,
    /// When the first of them died.
    pub oldest: DateTime<Utc>,
    /// Campaigns whose recipients they carried.
    pub campaigns: Vec<Uuid>,
}

/// What [`requeue`] with this choice would do, by kind and fate.
///
/// # Errors
/// The database failed.
pub async fn plan(pool: &PgPool, choice: &Dead) -> Result<Vec<Group>> {
    Ok(sqlx::query_as(
        "WITH dead AS (
             SELECT j.kind, j.lane, j.finished_at, j.last_error, j.campaign_id, CASE
                 WHEN k.finished_at IS NOT NULL OR (j.campaign_id IS NOT NULL AND j.kind = ANY ($5)
                      AND (c.state IS NULL OR c.state NOT IN ('sending', 'paused')))
                     THEN 'its recipients are failed already, reason internal: the campaign''s retry-failed takes them up'
                 WHEN EXISTS (SELECT 1 FROM jobs alive WHERE alive.kind = j.kind AND alive.unique_key = j.unique_key
                              AND alive.state IN ('scheduled', 'queued', 'running'))
                     THEN 'a job for the same thing is alive' END AS refused
             FROM jobs j LEFT JOIN campaigns c ON c.id = j.campaign_id LEFT JOIN chunks k ON k.id = j.id
             WHERE j.state = 'dead' AND ($1::text IS NULL OR j.lane = $1) AND ($2::text IS NULL OR j.kind = $2)
               AND ($3::uuid IS NULL OR j.id = $3) AND ($4::timestamptz IS NULL OR j.finished_at >= $4))
         SELECT kind, lane, count(*) AS jobs, refused, (array_agg(last_error ORDER BY finished_at DESC))[1] AS last_error,
                min(finished_at) AS oldest, coalesce(array_agg(DISTINCT campaign_id) FILTER (WHERE campaign_id IS NOT NULL), '{}') AS campaigns
         FROM dead GROUP BY kind, lane, refused ORDER BY lane, kind, refused NULLS FIRST",
    )
    .bind(choice.lane.map(crate::queue::lane::Lane::name))
    .bind(&choice.kind)
    .bind(choice.id)
    .bind(choice.since)
    .bind(inspect::CARRYING.as_slice())
    .fetch_all(pool)
    .await?)
}

/// Puts them back in line, with all their attempts. Twice is as good as once. Answers how many.
///
/// # Errors
/// [`Error::Conflict`]: a job for the same thing began in between; try again.
pub async fn requeue(pool: &PgPool, choice: &Dead) -> Result<u64> {
    let mut transaction = database::begin(pool).await?;
    let requeued = inspect::requeue_dead(&mut transaction, Extent::Everything, choice).await?;
    transaction.commit().await?;
    Ok(requeued)
}

/// Tries the failed recipients of these groups' finished campaigns once more. Answers the campaigns that were taken up; one that is not
/// finished yet, or has no failed recipients left, is passed over.
///
/// # Errors
/// The database failed; what is committed stays.
pub async fn retry_recipients(pool: &PgPool, groups: &[Group]) -> Result<Vec<Uuid>> {
    let campaigns: BTreeSet<Uuid> =
        groups.iter().filter(|group| group.refused.is_some()).flat_map(|group| group.campaigns.iter().copied()).collect();
    let mut retried = Vec::new();
    for id in campaigns {
        let owner: Option<Uuid> =
            sqlx::query_scalar("SELECT workspace_id FROM campaigns WHERE id = $1").bind(id).fetch_optional(pool).await?;
        let Some(owner) = owner else { continue };
        let mut transaction = database::begin(pool).await?;
        match transitions::retry_failed(&mut transaction, Scope::admin(owner), id).await {
            Ok(_) => {
                transaction.commit().await?;
                retried.push(id);
            }
            Err(Error::Conflict(reason)) => tracing::info!(campaign.id = %id, reason, "not taken up"),
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(retried)
}
