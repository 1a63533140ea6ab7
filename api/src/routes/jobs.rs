//! Jobs: poll one, list them, cancel, retry, put the dead back in line.

use axum::{
    Router,
    extract::State,
    http::{HeaderName, StatusCode, header},
    routing::{get, post},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::{
    accounts::scope::Scope,
    page::{Page, PageRequest},
    queue::{
        inspect::{self, Dead, Extent, Filter},
        job::Job,
        lane::Lane,
    },
};
use uuid::Uuid;

use crate::{
    caller::{Admin, Caller, Editor},
    error::ApiResult,
    extract::{Json, Path, Query},
    state::AppState,
};

/// `/jobs`.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/jobs", get(page))
        .route("/jobs/requeue-dead", post(requeue_dead))
        .route("/jobs/{id}", get(one))
        .route("/jobs/{id}/cancel", post(cancel))
        .route("/jobs/{id}/retry", post(retry))
}

#[derive(Serialize)]
struct Progress {
    done: i64,
    total: Option<i64>,
    percent: Option<i64>,
}

/// A job as it is told.
#[derive(Serialize)]
pub struct JobBody {
    id: Uuid,
    workspace_id: Option<Uuid>,
    campaign_id: Option<Uuid>,
    kind: String,
    lane: String,
    state: String,
    progress: Progress,
    attempt: i32,
    max_attempts: i32,
    result: Option<Value>,
    error: Option<String>,
    run_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    cancel_requested_at: Option<DateTime<Utc>>,
}

impl JobBody {
    /// What `scope` may know of it.
    #[must_use]
    pub fn new(job: Job, scope: Scope) -> Self {
        Self {
            progress: progress(&job),
            id: job.id,
            workspace_id: job.workspace_id,
            campaign_id: job.campaign_id,
            kind: job.kind,
            lane: job.lane,
            state: job.state,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            result: job.result,
            error: job.last_error.map(|error| inspect::told(scope, &error)),
            run_at: job.run_at,
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            cancel_requested_at: job.cancel_requested_at,
        }
    }
}

/// A finished job is whole even where it never knew how much there was to do.
fn progress(job: &Job) -> Progress {
    let percent = match job.progress_total {
        _ if job.state == "succeeded" => Some(100),
        Some(total) if total > 0 => Some((job.progress_done.saturating_mul(100) / total).clamp(0, 100)),
        _ => None,
    };
    Progress { done: job.progress_done, total: job.progress_total, percent }
}

/// An admin looks at the whole house unless the request names a workspace.
fn extent(caller: &Caller) -> Extent {
    if caller.scope.admin && !caller.named_workspace { Extent::Everything } else { Extent::Workspace(caller.scope.workspace_id) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JobsQuery {
    page: Option<i64>,
    limit: Option<i64>,
    state: Option<String>,
    kind: Option<String>,
    lane: Option<Lane>,
    campaign_id: Option<Uuid>,
}

async fn page(State(state): State<AppState>, caller: Caller, Query(query): Query<JobsQuery>) -> ApiResult<Json<Page<JobBody>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    let filter = Filter { state: query.state, kind: query.kind, lane: query.lane, campaign_id: query.campaign_id };
    let page = inspect::page(&state.pool, extent(&caller), &filter, request).await?;
    Ok(Json(page.map(|job| JobBody::new(job, caller.scope))))
}

async fn one(State(state): State<AppState>, caller: Caller, Path(id): Path<Uuid>) -> ApiResult<Json<JobBody>> {
    let job = inspect::find(&mut *state.pool.acquire().await?, caller.scope, id).await?;
    Ok(Json(JobBody::new(job, caller.scope)))
}

type Located = (StatusCode, [(HeaderName, String); 1], Json<JobBody>);

/// 200: it is cancelled. 202: it runs, and stops at its next checkpoint.
async fn cancel(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<Located> {
    let job = inspect::cancel(&mut *state.pool.acquire().await?, caller.scope, id).await?;
    let status = if job.state == "running" { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, location(id), Json(JobBody::new(job, caller.scope))))
}

async fn retry(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<Located> {
    let mut transaction = state.pool.begin().await?;
    let job = inspect::retry(&mut transaction, caller.scope, id).await?;
    transaction.commit().await?;
    Ok((StatusCode::ACCEPTED, location(id), Json(JobBody::new(job, caller.scope))))
}

fn location(id: Uuid) -> [(HeaderName, String); 1] {
    [(header::LOCATION, format!("/api/v1/jobs/{id}"))]
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequeueBody {
    lane: Option<Lane>,
    kind: Option<String>,
}

#[derive(Serialize)]
struct Requeued {
    requeued: u64,
}

async fn requeue_dead(State(state): State<AppState>, caller: Admin, body: Option<Json<RequeueBody>>) -> ApiResult<Json<Requeued>> {
    let RequeueBody { lane, kind } = body.map(|Json(body)| body).unwrap_or_default();
    let mut transaction = state.pool.begin().await?;
    let requeued = inspect::requeue_dead(&mut transaction, extent(&caller), &Dead { lane, kind, ..Dead::default() }).await?;
    transaction.commit().await?;
    Ok(Json(Requeued { requeued }))
}
