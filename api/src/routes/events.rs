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

async fn of_job(State(state): State<AppState>, watcher: Watcher, Path(id): Path<Uuid>) -> ApiResult<Response> {
    let job = inspect::find(&mut *state.pool.acquire().await?, watcher.caller().scope, id).await?;
    let board = state.events.jobs.clone();
    stream::open(state, watcher, &board, id, job.finished_at.is_some(), |job, caller| JobBody::new(job.clone(), caller.scope))
}

async fn of_campaign(State(state): State<AppState>, watcher: Watcher, Path(id): Path<Uuid>) -> ApiResult<Response> {
    let campaign = campaign::find(&state.pool, watcher.caller().scope, id).await?;
    let board = state.events.campaigns.clone();
    stream::open(state, watcher, &board, id, campaign.finished_at.is_some(), |progress, _| Progress::clone(progress))
}
