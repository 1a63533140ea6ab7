//! Jobs: poll one, list them, cancel, retry, put the dead back in line.

use axum::{
    extract::State,
    http::{HeaderName, StatusCode, header},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::{
    accounts::scope::Scope,
    database,
    page::{Page, PageRequest},
    queue::{
        inspect::{self, Dead, Extent, Filter},
        job::Job,
        lane::Lane,
    },
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    caller::{Admin, Caller, Editor},
    error::ApiResult,
    extract::{Json, Path, Query},
    openapi::words,
    state::AppState,
};

/// `/jobs`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(page))
        .routes(routes!(requeue_dead))
        .routes(routes!(one))
        .routes(routes!(cancel))
        .routes(routes!(retry))
}

#[derive(Serialize, ToSchema)]
#[schema(as = JobProgress)]
struct Progress {
    #[schema(minimum = 0, example = 500)]
    done: i64,
    /// Null where it is not known.
    #[schema(minimum = 0, example = 500)]
    total: Option<i64>,
    #[schema(minimum = 0, maximum = 100, example = 100)]
    percent: Option<i64>,
}

/// A job as it is told.
#[derive(Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobBody {
    id: Uuid,
    /// Null: the house's own.
    workspace_id: Option<Uuid>,
    campaign_id: Option<Uuid>,
    #[schema(example = "SendChunk")]
    kind: String,
    #[schema(value_type = Lane)]
    lane: String,
    #[schema(schema_with = words::job_state)]
    state: String,
    progress: Progress,
    #[schema(minimum = 0)]
    attempt: i32,
    #[schema(minimum = 1, example = 3)]
    max_attempts: i32,
    /// What the kind of job leaves behind.
    #[schema(value_type = Option<Object>, example = json!({ "sent": 500 }))]
    result: Option<Value>,
    /// Of the last attempt that failed.
    #[schema(example = "the file is gone")]
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

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct JobsQuery {
    page: Option<i64>,
    limit: Option<i64>,
    /// In this state.
    #[param(schema_with = words::job_state)]
    state: Option<String>,
    /// Of this kind.
    kind: Option<String>,
    /// On this lane.
    lane: Option<Lane>,
    /// Of this campaign.
    campaign_id: Option<Uuid>,
}

/// The workspace's jobs
///
/// An admin sees those of the whole house unless `X-Workspace-Id` names a workspace.
#[utoipa::path(get, path = "/jobs", operation_id = "list_jobs", tag = "jobs", security(("bearer" = ["viewer"])),
    params(JobsQuery), responses((status = 200, description = "A page of jobs", body = Page<JobBody>)))]
async fn page(State(state): State<AppState>, caller: Caller, Query(query): Query<JobsQuery>) -> ApiResult<Json<Page<JobBody>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    let filter = Filter { state: query.state, kind: query.kind, lane: query.lane, campaign_id: query.campaign_id };
    let page = inspect::page(&state.pool, extent(&caller), &filter, request).await?;
    Ok(Json(page.map(|job| JobBody::new(job, caller.scope))))
}

/// One job
#[utoipa::path(get, path = "/jobs/{id}", operation_id = "get_job", tag = "jobs", security(("bearer" = ["viewer"])),
    responses((status = 200, description = "The job", body = JobBody)))]
async fn one(State(state): State<AppState>, caller: Caller, Path(id): Path<Uuid>) -> ApiResult<Json<JobBody>> {
    let job = inspect::poll(&state.polled, caller.scope, id).await?;
    Ok(Json(JobBody::new(job, caller.scope)))
}

type Located = (StatusCode, [(HeaderName, String); 1], Json<JobBody>);

/// Cancel a job
#[utoipa::path(post, path = "/jobs/{id}/cancel", operation_id = "cancel_job", tag = "jobs", security(("bearer" = ["editor"])),
    responses((status = 200, description = "It is cancelled", body = JobBody), (status = 202, description = "It runs, and stops at its next checkpoint", body = JobBody),
              (status = 409, description = "the job is over")))]
async fn cancel(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<Located> {
    let job = inspect::cancel(&mut *state.pool.acquire().await?, caller.scope, id).await?;
    let status = if job.state == "running" { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, location(id), Json(JobBody::new(job, caller.scope))))
}

/// Run a job again that failed
#[utoipa::path(post, path = "/jobs/{id}/retry", operation_id = "retry_job", tag = "jobs", security(("bearer" = ["editor"])),
    responses((status = 202, description = "It is queued", body = JobBody), (status = 409, description = "the job has not failed")))]
async fn retry(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<Located> {
    let mut transaction = database::begin(&state.pool).await?;
    let job = inspect::retry(&mut transaction, caller.scope, id).await?;
    transaction.commit().await?;
    Ok((StatusCode::ACCEPTED, location(id), Json(JobBody::new(job, caller.scope))))
}

fn location(id: Uuid) -> [(HeaderName, String); 1] {
    [(header::LOCATION, format!("/api/v1/jobs/{id}"))]
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RequeueDead)]
struct RequeueBody {
    /// Those of this lane.
    lane: Option<Lane>,
    /// Those of this kind.
    #[schema(example = "LoadContacts")]
    kind: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct Requeued {
    #[schema(minimum = 0, example = 3)]
    requeued: u64,
}

/// Put dead jobs back in line
///
/// Of the whole house unless `X-Workspace-Id` names a workspace.
#[utoipa::path(post, path = "/jobs/requeue-dead", operation_id = "requeue_dead_jobs", tag = "jobs", security(("bearer" = ["admin"])),
    request_body = Option<RequeueBody>, responses((status = 200, description = "How many were put back", body = Requeued)))]
async fn requeue_dead(State(state): State<AppState>, caller: Admin, body: Option<Json<RequeueBody>>) -> ApiResult<Json<Requeued>> {
    let RequeueBody { lane, kind } = body.map(|Json(body)| body).unwrap_or_default();
    let mut transaction = database::begin(&state.pool).await?;
    let requeued = inspect::requeue_dead(&mut transaction, extent(&caller), &Dead { lane, kind, ..Dead::default() }).await?;
    transaction.commit().await?;
    Ok(Json(Requeued { requeued }))
}
