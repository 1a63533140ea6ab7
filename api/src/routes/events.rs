//! Streams: what a watched job or campaign does, as server-sent events.

use axum::{extract::State, response::Response};
use shared::{
    campaigns::{campaign, progress::Progress},
    queue::inspect,
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::jobs::JobBody;
use crate::{
    error::ApiResult,
    events::stream::{self, Watcher},
    extract::Path,
    state::AppState,
};

/// `/jobs/{id}/events` and `/campaigns/{id}/events`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(of_job)).routes(routes!(of_campaign))
}

/// One event of a stream.
#[derive(ToSchema)]
#[schema(as = JobEvent)]
#[expect(dead_code, reason = "the lines of an event are written by axum")]
struct OfJob {
    /// For `Last-Event-ID`.
    #[schema(example = "1795233957167122-a1e675d4638e6471")]
    id: String,
    #[schema(pattern = "^(change|end)$", example = "change")]
    event: String,
    /// A `Job`.
    #[schema(content_media_type = "application/json", example = "{\"id\": …}")]
    data: String,
}

/// One event of a stream.
#[derive(ToSchema)]
#[schema(as = CampaignEvent)]
#[expect(dead_code, reason = "the lines of an event are written by axum")]
struct OfCampaign {
    /// For `Last-Event-ID`.
    #[schema(example = "1795233955071333-7c57e4e7d34d30fa")]
    id: String,
    #[schema(pattern = "^(change|end)$", example = "change")]
    event: String,
    /// A `CampaignProgress`.
    #[schema(content_media_type = "application/json", example = "{\"state\": …}")]
    data: String,
}

/// Watch a job
///
/// Server-sent events: each is the job as JSON, the first tells how it is now. `event: end` comes when nothing more will happen.
#[utoipa::path(get, path = "/jobs/{id}/events", operation_id = "watch_job", tag = "jobs", security(("bearer" = ["viewer"])),
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen: how it is now is told only if it is something else.")),
    responses((status = 200, description = "Events", body = OfJob, content_type = "text/event-stream"),
              (status = 204, description = "The end was seen, and nothing more will happen")))]
async fn of_job(State(state): State<AppState>, watcher: Watcher, Path(id): Path<Uuid>) -> ApiResult<Response> {
    let job = inspect::find(&mut *state.pool.acquire().await?, watcher.caller().scope, id).await?;
    let board = state.events.jobs.clone();
    stream::open(state, watcher, &board, id, job.finished_at.is_some(), |job, caller| JobBody::new(job.clone(), caller.scope))
}

/// Watch a campaign
///
/// Server-sent events: each is the progress as JSON, the first tells how it is now. `event: end` comes when nothing more will happen.
#[utoipa::path(get, path = "/campaigns/{id}/events", operation_id = "watch_campaign", tag = "campaigns", security(("bearer" = ["viewer"])),
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen: how it is now is told only if it is something else.")),
    responses((status = 200, description = "Events", body = OfCampaign, content_type = "text/event-stream"),
              (status = 204, description = "The end was seen, and nothing more will happen")))]
async fn of_campaign(State(state): State<AppState>, watcher: Watcher, Path(id): Path<Uuid>) -> ApiResult<Response> {
    let campaign = campaign::find(&state.pool, watcher.caller().scope, id).await?;
    let board = state.events.campaigns.clone();
    stream::open(state, watcher, &board, id, campaign.finished_at.is_some(), |progress, _| Progress::clone(progress))
}
