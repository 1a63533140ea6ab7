//! Campaigns: write them, send them, look how far they are.

use axum::{
    Router,
    extract::State,
    http::{HeaderName, StatusCode, header},
    routing::{get, post},
};
use chrono::{DateTime, Datelike, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    campaigns::{
        campaign::{self, Campaign, Change, Filter, State as CampaignState},
        draft::Draft,
        preview,
        progress::Progress,
        recipients::{self, Listed},
        template::{CampaignContent, Rendered},
        transitions::{self, Moved},
    },
    error::Error,
    page::{Page, PageRequest},
    queue::lane::Lane,
};
use uuid::Uuid;

use super::routes::present;
use crate::{
    caller::{Caller, Editor},
    error::ApiResult,
    extract::{Json, Path, Query},
    front::etags::{IfMatch, Tagged},
    state::AppState,
};

/// `/campaigns`, without their deliveries.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/campaigns", get(page).post(create))
        .route("/campaigns/{id}", get(one).patch(change).delete(remove))
        .route("/campaigns/{id}/send", post(send))
        .route("/campaigns/{id}/pause", post(pause))
        .route("/campaigns/{id}/resume", post(resume))
        .route("/campaigns/{id}/cancel", post(cancel))
        .route("/campaigns/{id}/retry-failed", post(retry_failed))
        .route("/campaigns/{id}/resend-unknown", post(resend_unknown))
        .route("/campaigns/{id}/preview", post(show))
        .route("/campaigns/{id}/test", post(test))
        .route("/campaigns/{id}/progress", get(how_far))
        .route("/campaigns/{id}/recipients", get(to_whom))
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct From {
    #[serde(default)]
    name: String,
    email: String,
}

/// A campaign as a list tells it.
#[derive(Serialize)]
struct Summary {
    id: Uuid,
    workspace_id: Uuid,
    name: String,
    subject: String,
    from: From,
    list_ids: Vec<Uuid>,
    route_id: Option<Uuid>,
    state: CampaignState,
    audience: Option<i64>,
    scheduled_at: Option<DateTime<Utc>>,
    launched_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// A campaign as it is told: with what it says.
#[derive(Serialize)]
struct CampaignBody {
    #[serde(flatten)]
    summary: Summary,
    html: String,
    text: Option<String>,
}

impl std::convert::From<Campaign> for Summary {
    fn from(campaign: Campaign) -> Self {
        Self {
            id: campaign.id,
            workspace_id: campaign.workspace_id,
            name: campaign.name,
            subject: campaign.subject,
            from: From { name: campaign.from_name, email: campaign.from_email },
            list_ids: campaign.list_ids,
            route_id: campaign.route_id,
            state: campaign.state,
            audience: campaign.audience,
            scheduled_at: campaign.scheduled_at,
            launched_at: campaign.launched_at,
            finished_at: campaign.finished_at,
            created_at: campaign.created_at,
            updated_at: campaign.updated_at,
        }
    }
}

impl std::convert::From<Campaign> for CampaignBody {
    fn from(mut campaign: Campaign) -> Self {
        let (html, text) = (std::mem::take(&mut campaign.html), campaign.text.take());
        Self { summary: campaign.into(), html, text }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBody {
    name: String,
    subject: String,
    from: From,
    html: String,
    text: Option<String>,
    list_ids: Vec<Uuid>,
    route_id: Option<Uuid>,
    scheduled_at: Option<DateTime<Utc>>,
}

async fn create(
    State(state): State<AppState>,
    caller: Editor,
    Json(body): Json<NewBody>,
) -> ApiResult<(StatusCode, Json<CampaignBody>)> {
    let NewBody { name, subject, from, html, text, list_ids, route_id, scheduled_at } = body;
    let content = CampaignContent { name, subject, from_name: from.name, from_email: from.email, html, text };
    let draft = Draft { content, list_ids, route_id, scheduled_at };
    let mut transaction = state.pool.begin().await?;
    let created = campaign::create(&mut transaction, caller.scope, draft, state.clock.now()).await?;
    transaction.commit().await?;
    Ok((StatusCode::CREATED, Json(created.into())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CampaignsQuery {
    page: Option<i64>,
    limit: Option<i64>,
    #[serde(default)]
    search: String,
    state: Option<CampaignState>,
    date_from: Option<NaiveDate>,
    date_to: Option<NaiveDate>,
}

async fn page(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<CampaignsQuery>,
) -> ApiResult<Json<Page<Summary>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    for (field, date) in [("date_from", query.date_from), ("date_to", query.date_to)] {
        if let Some(date) = date.filter(|date| !(1..=9999).contains(&date.year())) {
            return Err(Error::invalid(field, format!("must be in the years 1 to 9999, not {date}")).into());
        }
    }
    let filter = Filter { search: query.search, state: query.state, date_from: query.date_from, date_to: query.date_to };
    Ok(Json(campaign::page(&state.pool, caller.scope, &filter, request).await?.map(Summary::from)))
}

async fn one(State(state): State<AppState>, caller: Caller, Path(id): Path<Uuid>) -> ApiResult<Tagged<CampaignBody>> {
    let campaign = campaign::find(&state.pool, caller.scope, id).await?;
    Ok(Tagged(campaign.updated_at, campaign.into()))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FromChange {
    name: Option<String>,
    email: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    name: Option<String>,
    subject: Option<String>,
    #[serde(default)]
    from: FromChange,
    html: Option<String>,
    #[serde(default, deserialize_with = "present")]
    text: Option<Option<String>>,
    list_ids: Option<Vec<Uuid>>,
    #[serde(default, deserialize_with = "present")]
    route_id: Option<Option<Uuid>>,
    #[serde(default, deserialize_with = "present")]
    scheduled_at: Option<Option<DateTime<Utc>>>,
}

async fn change(
    State(state): State<AppState>,
    caller: Editor,
    Path(id): Path<Uuid>,
    IfMatch(expected): IfMatch,
    Json(body): Json<ChangeBody>,
) -> ApiResult<Tagged<CampaignBody>> {
    let ChangeBody { name, subject, from, html, text, list_ids, route_id, scheduled_at } = body;
    let (from_name, from_email) = (from.name, from.email);
    let change = Change { name, subject, from_name, from_email, html, text, list_ids, route_id, scheduled_at };
    let mut transaction = state.pool.begin().await?;
    campaign::expect(&mut transaction, caller.scope, id, &expected).await?;
    let changed = campaign::change(&mut transaction, caller.scope, id, change, state.clock.now()).await?;
    transaction.commit().await?;
    Ok(Tagged(changed.updated_at, changed.into()))
}

async fn remove(
    State(state): State<AppState>,
    caller: Editor,
    Path(id): Path<Uuid>,
    IfMatch(expected): IfMatch,
) -> ApiResult<StatusCode> {
    let mut transaction = state.pool.begin().await?;
    campaign::expect(&mut transaction, caller.scope, id, &expected).await?;
    campaign::delete(&mut transaction, caller.scope, id).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize)]
struct MovedBody {
    id: Uuid,
    state: CampaignState,
    job_id: Option<Uuid>,
}

type Accepted = (StatusCode, [(HeaderName, String); 1], Json<MovedBody>);

/// Points at the job that does the rest; at the campaign itself where nothing is left to do.
fn accepted(Moved { id, state, job_id }: Moved) -> Accepted {
    let location = job_id.map_or_else(|| format!("/api/v1/campaigns/{id}"), |job_id| format!("/api/v1/jobs/{job_id}"));
    (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(MovedBody { id, state, job_id }))
}

/// What a person can do to a campaign.
enum Move {
    Send,
    Pause,
    Resume,
    Cancel,
    RetryFailed,
    ResendUnknown,
}

async fn shift(state: &AppState, caller: &Caller, id: Uuid, change: Move) -> ApiResult<Accepted> {
    let mut transaction = state.pool.begin().await?;
    let (connection, scope) = (&mut transaction, caller.scope);
    let moved = match change {
        Move::Send => transitions::send(connection, scope, id, state.clock.now()).await?,
        Move::Pause => transitions::pause(connection, scope, id).await?,
        Move::Resume => transitions::resume(connection, scope, id).await?,
        Move::Cancel => transitions::cancel(connection, scope, id).await?,
        Move::RetryFailed => transitions::retry_failed(connection, scope, id).await?,
        Move::ResendUnknown => transitions::resend_unknown(connection, scope, id).await?,
    };
    transaction.commit().await?;
    state.ring(Lane::Bulk);
    Ok(accepted(moved))
}

async fn send(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<Accepted> {
    shift(&state, &caller, id, Move::Send).await
}

async fn pause(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<Accepted> {
    shift(&state, &caller, id, Move::Pause).await
}

async fn resume(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<Accepted> {
    shift(&state, &caller, id, Move::Resume).await
}

async fn cancel(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<Accepted> {
    shift(&state, &caller, id, Move::Cancel).await
}

async fn retry_failed(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<Accepted> {
    shift(&state, &caller, id, Move::RetryFailed).await
}

async fn resend_unknown(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<Accepted> {
    shift(&state, &caller, id, Move::ResendUnknown).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PreviewBody {
    contact_id: Uuid,
}

/// The link in it leads nowhere, so that whoever looks cannot unsubscribe the contact.
async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Json(body): Json<PreviewBody>,
) -> ApiResult<Json<Rendered>> {
    let nowhere = format!("{}/u/preview", state.settings.api.public_url.as_str().trim_end_matches('/'));
    Ok(Json(preview::of(&state.pool, caller.scope, id, body.contact_id, &nowhere).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TestBody {
    to: Vec<String>,
}

async fn test(
    State(state): State<AppState>,
    caller: Editor,
    Path(id): Path<Uuid>,
    Json(body): Json<TestBody>,
) -> ApiResult<Accepted> {
    let mut transaction = state.pool.begin().await?;
    let moved = transitions::test(&mut transaction, caller.scope, id, &body.to).await?;
    transaction.commit().await?;
    state.ring(Lane::Critical);
    Ok(accepted(moved))
}

async fn how_far(State(state): State<AppState>, caller: Caller, Path(id): Path<Uuid>) -> ApiResult<Json<Progress>> {
    Ok(Json(state.counts.of(&state.pool, caller.scope, id).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipientsQuery {
    page: Option<i64>,
    limit: Option<i64>,
}

#[derive(Serialize)]
struct RecipientBody {
    contact_id: Uuid,
    email: String,
    name: String,
    state: String,
}

impl std::convert::From<Listed> for RecipientBody {
    fn from(Listed { contact_id, email, name, state }: Listed) -> Self {
        Self { contact_id, email, name, state }
    }
}

async fn to_whom(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<RecipientsQuery>,
) -> ApiResult<Json<Page<RecipientBody>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    let campaign = campaign::find(&state.pool, caller.scope, id).await?;
    Ok(Json(recipients::page(&state.pool, &campaign, request).await?.map(RecipientBody::from)))
}
