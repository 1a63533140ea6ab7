//! What people ask of jobs, and what they may do to them: look, cancel, retry, put the dead back in line.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{job::Job, lane::Lane};
use crate::{
    accounts::scope::Scope,
    error::{Error, Result},
    gathering::Gathering,
    page::{Page, PageRequest},
};

/// The states of a job, as in the table.
pub const STATES: [&str; 7] = ["scheduled", "queued", "running", "succeeded", "failed", "cancelled", "dead"];

/// Kinds whose jobs carry recipients: in a campaign that is over they are not run again, the campaign's own retry-failed is the way.
pub(crate) const CARRYING: [&str; 2] = ["LaunchCampaign", "SendChunk"];

/// Which of the dead are meant.
#[derive(Clone, Debug, Default)]
pub struct Dead {
    /// In this lane.
    pub lane: Option<Lane>,
    /// Of this kind.
    pub kind: Option<String>,
    /// This one.
    pub id: Option<Uuid>,
    /// Dead since then or later, by the database's clock.
    pub since: Option<DateTime<Utc>>,
}

/// Whose jobs are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Of one workspace.
    Workspace(Uuid),
    /// Of all workspaces and of the house; for admins.
    Everything,
}

/// Which jobs a page shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// In this state.
    pub state: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// In this lane.
    pub lane: Option<Lane>,
    /// Of this campaign.
    pub campaign_id: Option<Uuid>,
}

/// The jobs that pass the filter, newest first.
///
/// # Errors
/// [`Error::Invalid`]: there is no such state.
pub async fn page(pool: &PgPool, extent: Extent, filter: &Filter, request: PageRequest) -> Result<Page<Job>> {
    if let Some(state) = filter.state.as_deref().filter(|state| !STATES.contains(state)) {
        return Err(Error::invalid("state", format!("must be one of {}, not {state:?}", STATES.join(", "))));
    }
    let mut count = QueryBuilder::new("SELECT count(*) FROM jobs");
    narrow(&mut count, extent, filter);
    let total = count.build_query_scalar().fetch_one(pool).await?;
    let mut rows = QueryBuilder::new("SELECT * FROM jobs");
    narrow(&mut rows, extent, filter);
    rows.push(" ORDER BY id DESC LIMIT ").push_bind(request.limit).push(" OFFSET ").push_bind(request.offset());
    Ok(Page::new(request, total, rows.build_query_as().fetch_all(pool).await?))
}

fn narrow(query: &mut QueryBuilder<Postgres>, extent: Extent, filter: &Filter) {
    query.push(" WHERE true");
    if let Extent::Workspace(id) = extent {
        query.push(" AND workspace_id = ").push_bind(id);
    }
    if let Some(state) = &filter.state {
        query.push(" AND state = ").push_bind(state.clone());
    }
    if let Some(kind) = &filter.kind {
        query.push(" AND kind = ").push_bind(kind.clone());
    }
    if let Some(lane) = filter.lane {
        query.push(" AND lane = ").push_bind(lane.name());
    }
    if let Some(campaign_id) = filter.campaign_id {
        query.push(" AND campaign_id = ").push_bind(campaign_id);
    }
}

/// The job `id`. The house's jobs are for admins.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Forbidden`]: not yours.
pub async fn find(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<Job> {
    let job: Option<Job> = sqlx::query_as("SELECT * FROM jobs WHERE id = $1").bind(id).fetch_optional(connection).await?;
    visible(scope, id, job)
}

/// Those of the jobs that are there, for whoever watches them.
///
/// # Errors
/// The database failed.
pub async fn these(pool: &PgPool, ids: &[Uuid]) -> Result<Vec<Job>> {
    Ok(sqlx::query_as("SELECT * FROM jobs WHERE id = ANY($1)").bind(ids).fetch_all(pool).await?)
}

/// Jobs by id, for whoever polls: those who ask at the same moment share a statement.
pub type Polled = Gathering<Uuid, Job>;

/// Looks jobs up in this database.
#[must_use]
pub fn polled(pool: &PgPool) -> Polled {
    let pool = pool.clone();
    Gathering::new(move |ids| {
        let pool = pool.clone();
        Box::pin(async move { Ok(these(&pool, &ids).await?.into_iter().map(|job| (job.id, job)).collect()) })
    })
}

/// As [`find`], together with others who poll.
///
/// # Errors
/// As [`find`].
pub async fn poll(polled: &Polled, scope: Scope, id: Uuid) -> Result<Job> {
    visible(scope, id, polled.get(id).await?)
}

fn visible(scope: Scope, id: Uuid, job: Option<Job>) -> Result<Job> {
    let job = job.ok_or_else(|| Error::not_found("job", id))?;
    match job.workspace_id {
        _ if scope.admin => Ok(job),
        Some(owner) => scope.may_read("job", id, owner).map(|()| job),
        None => Err(Error::Forbidden(format!("job {id} is the house's"))),
    }
}

/// What `scope` may know about why a job failed: an admin everything, a client nothing of our inside.
#[must_use]
pub fn told(scope: Scope, error: &str) -> String {
    let inside = ["database:", "error returned from database", "internal:"].iter().any(|mark| error.contains(mark));
    if inside && !scope.admin {
        "something failed on our side; it is logged under the job's id".to_owned()
    } else {
        error.to_owned()
    }
}

/// Cancels a waiting job at once, and asks a running one to stop at its next checkpoint. Answers the job as it is then.
///
/// # Errors
/// [`Error::Conflict`]: it has ended, or it belongs to a campaign, whose balance would be lost. [`Error::NotFound`],
/// [`Error::Forbidden`].
pub async fn cancel(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<Job> {
    let job = find(connection, scope, id).await?;
    if let Some(campaign_id) = job.campaign_id {
        return Err(Error::Conflict(format!("job {id} carries recipients of campaign {campaign_id}: cancel the campaign instead")));
    }
    let changed = sqlx::query_as(
        "UPDATE jobs SET
             cancel_requested_at = coalesce(cancel_requested_at, now()),
             state = CASE state WHEN 'running' THEN 'running' ELSE 'cancelled' END,
             finished_at = CASE state WHEN 'running' THEN NULL ELSE now() END,
             updated_at = now()
         WHERE id = $1 AND state IN ('scheduled', 'queued', 'running') RETURNING *",
    )
    .bind(id)
    .fetch_optional(&mut *connection)
    .await?;
    match changed {
        Some(job) => Ok(job),
        None => Err(Error::Conflict(format!("job {id} is {} already", find(connection, scope, id).await?.state))),
    }
}

/// Puts a job that has ended without success back in line, with all its attempts.
///
/// # Errors
/// [`Error::Conflict`]: it is in another state, its campaign is over, or another job with its key is alive. [`Error::NotFound`],
/// [`Error::Forbidden`].
pub async fn retry(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<Job> {
    let job = find(connection, scope, id).await?;
    if let (Some(campaign_id), true) = (job.campaign_id, CARRYING.contains(&job.kind.as_str())) {
        // Held, so that the campaign does not end in between.
        let state: Option<String> = sqlx::query_scalar("SELECT state FROM campaigns WHERE id = $1 FOR SHARE")
            .bind(campaign_id)
            .fetch_optional(&mut *connection)
            .await?;
        if !matches!(state.as_deref(), Some("sending" | "paused")) {
            let state = state.unwrap_or_else(|| "gone".to_owned());
            return Err(Error::Conflict(format!(
                "job {id} belongs to campaign {campaign_id}, which is {state}: use the campaign's retry-failed"
            )));
        }
    }
    let retried = sqlx::query_as(
        "UPDATE jobs SET state = 'queued', run_at = now(), attempt = 0, deliveries = 0, cancel_requested_at = NULL, result = NULL,
             last_error = NULL, started_at = NULL, finished_at = NULL, updated_at = now()
         WHERE id = $1 AND state IN ('failed', 'dead', 'cancelled') RETURNING *",
    )
    .bind(id)
    .fetch_optional(&mut *connection)
    .await
    .map_err(|error| match Error::constraint(&error) {
        Some("jobs_unique_key") => Error::Conflict(format!("another {} job for the same thing is alive", job.kind)),
        _ => error.into(),
    })?;
    match retried {
        Some(job) => Ok(job),
        None => {
            let state = find(connection, scope, id).await?.state;
            Err(Error::Conflict(format!("job {id} is {state}; only a failed, dead or cancelled one is retried")))
        }
    }
}

/// Puts the chosen dead jobs of the extent back in line, but for those whose key is taken by a job that is alive and those whose
/// recipients are accounted for: the campaign is over, or the chunk is settled. Answers how many.
///
/// # Errors
/// The database failed.
pub async fn requeue_dead(connection: &mut PgConnection, extent: Extent, choice: &Dead) -> Result<u64> {
    let workspace_id = match extent {
        Extent::Workspace(id) => Some(id),
        Extent::Everything => None,
    };
    let requeued = sqlx::query(
        "WITH dead AS MATERIALIZED (
             SELECT j.id, j.kind, j.unique_key FROM jobs j
             WHERE j.state = 'dead' AND ($1::uuid IS NULL OR j.workspace_id = $1) AND ($2::text IS NULL OR j.lane = $2)
               AND ($3::text IS NULL OR j.kind = $3) AND ($5::uuid IS NULL OR j.id = $5)
               AND ($6::timestamptz IS NULL OR j.finished_at >= $6)
               AND NOT EXISTS (SELECT 1 FROM chunks k WHERE k.id = j.id AND k.finished_at IS NOT NULL)
               AND (j.campaign_id IS NULL OR j.kind <> ALL ($4) OR EXISTS (
                     SELECT 1 FROM campaigns c WHERE c.id = j.campaign_id AND c.state IN ('sending', 'paused')))
               AND NOT EXISTS (
                     SELECT 1 FROM jobs alive WHERE alive.kind = j.kind AND alive.unique_key = j.unique_key
                        AND alive.state IN ('scheduled', 'queued', 'running'))
             ORDER BY j.id FOR NO KEY UPDATE OF j SKIP LOCKED),
         chosen AS (SELECT DISTINCT ON (kind, coalesce(unique_key, id::text)) id FROM dead ORDER BY kind, coalesce(unique_key, id::text), id DESC)
         UPDATE jobs j SET state = 'queued', run_at = now(), attempt = 0, deliveries = 0, cancel_requested_at = NULL, result = NULL,
             last_error = NULL, started_at = NULL, finished_at = NULL, updated_at = now()
         FROM chosen WHERE j.id = chosen.id",
    )
    .bind(workspace_id)
    .bind(choice.lane.map(Lane::name))
    .bind(&choice.kind)
    .bind(CARRYING.as_slice())
    .bind(choice.id)
    .bind(choice.since)
    .execute(connection)
    .await
    .map_err(|error| match Error::constraint(&error) {
        Some("jobs_unique_key") => Error::Conflict("a job for the same thing has just begun; try again".to_owned()),
        _ => error.into(),
    })?;
    Ok(requeued.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Stage;

    async fn campaign(stage: &Stage, workspace_id: Uuid, state: &str) -> Uuid {
        let id = Uuid::now_v7();
        sqlx::query(
            "INSERT INTO campaigns (id, workspace_id, name, subject, from_email, html, list_ids, state)
             VALUES ($1, $2, 'Sale', 'Sale', 'shop@example.com', '', '{}', $3)",
        )
        .bind(id)
        .bind(workspace_id)
        .bind(state)
        .execute(&stage.pool)
        .await
        .expect("a campaign");
        id
    }

    async fn dead(stage: &Stage, workspace_id: Uuid, kind: &str, campaign_id: Option<Uuid>, unique_key: Option<&str>) -> Uuid {
        let id = Uuid::now_v7();
        sqlx::query(
            "INSERT INTO jobs (id, workspace_id, kind, lane, flow, campaign_id, state, payload, attempt, unique_key, finished_at)
             VALUES ($1, $2, $3, 'bulk', 'test', $4, 'dead', '{}', 3, $5, now())",
        )
        .bind(id)
        .bind(workspace_id)
        .bind(kind)
        .bind(campaign_id)
        .bind(unique_key)
        .execute(&stage.pool)
        .await
        .expect("a job");
        id
    }

    #[tokio::test]
    async fn a_chunk_of_a_campaign_that_is_over_is_not_run_again() {
        let stage = Stage::new().await;
        let workspace = stage.workspace("Acme").await;
        let scope = Scope::client(workspace);
        let mut connection = stage.pool.acquire().await.expect("a connection");
        for state in ["finished", "finished_with_failures", "cancelled"] {
            let over = campaign(&stage, workspace, state).await;
            let chunk = dead(&stage, workspace, "SendChunk", Some(over), None).await;
            let error = retry(&mut connection, scope, chunk).await.expect_err("over");
            let told = format!("job {chunk} belongs to campaign {over}, which is {state}: use the campaign's retry-failed");
            assert_eq!(error.to_string(), told);
        }
        let sending = campaign(&stage, workspace, "sending").await;
        let chunk = dead(&stage, workspace, "SendChunk", Some(sending), None).await;
        assert_eq!(requeue_dead(&mut connection, Extent::Everything, &Dead::default()).await.expect("requeued"), 1);
        let job = find(&mut connection, scope, chunk).await.expect("a job");
        assert_eq!((job.state.as_str(), job.attempt), ("queued", 0));
        assert!(matches!(cancel(&mut connection, scope, chunk).await, Err(Error::Conflict(_))));
    }

    #[tokio::test]
    async fn of_dead_jobs_with_one_key_only_one_comes_back() {
        let stage = Stage::new().await;
        let workspace = stage.workspace("Acme").await;
        let mut connection = stage.pool.acquire().await.expect("a connection");
        let older = dead(&stage, workspace, "Tidy", None, Some("daily")).await;
        let newer = dead(&stage, workspace, "Tidy", None, Some("daily")).await;
        let extent = Extent::Workspace(workspace);
        let tidy = Dead { lane: Some(Lane::Bulk), kind: Some("Tidy".to_owned()), ..Dead::default() };
        assert_eq!(requeue_dead(&mut connection, extent, &tidy).await.expect("requeued"), 1);
        assert_eq!(requeue_dead(&mut connection, extent, &Dead::default()).await.expect("requeued"), 0);
        assert_eq!(find(&mut connection, Scope::client(workspace), newer).await.expect("a job").state, "queued");
        let error = retry(&mut connection, Scope::client(workspace), older).await.expect_err("its key is taken");
        assert_eq!(error.to_string(), "another Tidy job for the same thing is alive");
    }
}
