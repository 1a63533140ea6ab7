//! Streams: what a watched job or campaign does, as server-sent events.

use axum::{Router, extract::State, response::Response, routing::get};
use shared::{
    campaigns::{campaign, progress::Progress},
    queue::inspect,
};
use uuid::Uuid;

use super::jobs::JobBody;
use crate::{
    error::ApiResult,
    events::stream::{self, Watcher},
    extract::Path,
    state::AppState,
};

/// `/jobs/{id}/events` and `/campaigns/{id}/events`.
pub fn router() -> Router<AppState> {
    Router::new().route("/jobs/{id}/events", get(of_job)).route("/campaigns/{id}/events", get(of_campaign))
}

/// Watch a job: an event with each change, and `end` with the last
#[utoipa::path(get, path = "/jobs/{id}/events", operation_id = "watch_job", tag = "jobs", security(("bearer" = ["viewer"])),
    params(("last-event-id" = Option<String>, Header, description = "What the client has seen last; it is not told again")),
    responses((status = 200, description = "Events whose data is the job as GET tells it", content_type = "text/event-stream", body = String),
        (status = 204, description = "The client has seen the end")))]
async fn of_job(State(state): State<AppState>, watcher: Watcher, Path(id): Path<Uuid>) -> ApiResult<Response> {
    let job = inspect::find(&mut *state.pool.acquire().await?, watcher.caller().scope, id).await?;
    let board = state.events.jobs.clone();
    stream::open(state, watcher, &board, id, job.finished_at.is_some(), |job, caller| JobBody::new(job.clone(), caller.scope))
}

/// Watch a campaign: an event with each change of its counts, and `end` with the last
#[utoipa::path(get, path = "/campaigns/{id}/events", operation_id = "watch_campaign", tag = "campaigns",
    security(("bearer" = ["viewer"])),
    params(("last-event-id" = Option<String>, Header, description = "What the client has seen last; it is not told again")),
    responses((status = 200, description = "Events whose data is the campaign's progress", content_type = "text/event-stream", body = String),
        (status = 204, description = "The client has seen the end")))]
async fn of_campaign(State(state): State<AppState>, watcher: Watcher, Path(id): Path<Uuid>) -> ApiResult<Response> {
    let campaign = campaign::find(&state.pool, watcher.caller().scope, id).await?;
    let board = state.events.campaigns.clone();
    stream::open(state, watcher, &board, id, campaign.finished_at.is_some(), |progress, _| Progress::clone(progress))
}
