//! Campaigns: write them, send them, look how far they are.

use axum::{
    extract::State,
    http::{HeaderName, StatusCode, header},
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
    database,
    error::Error,
    page::{Page, PageRequest},
    queue::lane::Lane,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::routes::present;
use crate::{
    caller::{Caller, Editor},
    error::ApiResult,
    extract::{Json, Path, Query},
    front::etags::{IfMatch, Tagged},
    openapi::words,
    state::AppState,
};

/// `/campaigns`, without their deliveries.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(page, create))
        .routes(routes!(one, change, remove))
        .routes(routes!(send))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(cancel))
        .routes(routes!(retry_failed))
        .routes(routes!(resend_unknown))
        .routes(routes!(show))
        .routes(routes!(test))
        .routes(routes!(how_far))
        .routes(routes!(to_whom))
}

#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Sender)]
struct From {
    /// Without control characters.
    #[serde(default)]
    #[schema(max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", example = "The Shop")]
    name: String,
    #[schema(format = "idn-email", min_length = 3, max_length = 254, example = "news@shop.example.com")]
    email: String,
}

/// A campaign as a list tells it.
#[derive(Serialize, ToSchema)]
#[schema(as = CampaignSummary)]
struct Summary {
    id: Uuid,
    workspace_id: Uuid,
    #[schema(example = "Spring sale")]
    name: String,
    #[schema(example = "{{ contact.name }}, spring is here")]
    subject: String,
    from: From,
    list_ids: Vec<Uuid>,
    route_id: Option<Uuid>,
    state: CampaignState,
    /// Why the house paused it; null where a person did, and where it is not paused.
    #[schema(example = "0.42 % of its accepted mails are complained about; the workspace's policy pauses above 0.3 %")]
    pause_reason: Option<String>,
    /// Since when more recipients complain than the workspace's policy warns at.
    complaint_warning_at: Option<DateTime<Utc>>,
    /// How many it goes to; null until the launch has counted them.
    #[schema(minimum = 0, example = 2400)]
    audience: Option<i64>,
    scheduled_at: Option<DateTime<Utc>>,
    launched_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// A campaign as it is told: with what it says.
#[derive(Serialize, ToSchema)]
#[schema(as = Campaign)]
struct CampaignBody {
    #[serde(flatten)]
    summary: Summary,
    #[schema(example = "<p>Hi {{ contact.name }}</p><p><a href=\"{{ unsubscribe_url }}\">Unsubscribe</a></p>")]
    html: String,
    /// Null: derived from the HTML.
    #[schema(example = "Hi {{ contact.name }}\n\nUnsubscribe: {{ unsubscribe_url }}")]
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
            pause_reason: campaign.pause_reason,
            complaint_warning_at: campaign.complaint_warning_at,
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCampaign)]
struct NewBody {
    #[schema(min_length = 1, max_length = 200, pattern = r"\S", example = "Spring sale")]
    name: String,
    /// A template.
    #[schema(min_length = 1, max_length = 200, example = "{{ contact.name }}, spring is here")]
    subject: String,
    from: From,
    /// A template that shows `unsubscribe_url`.
    #[schema(min_length = 1, example = "<p>Hi {{ contact.name }}</p><p><a href=\"{{ unsubscribe_url }}\">Unsubscribe</a></p>")]
    html: String,
    /// A template; absent or null: derived from the HTML.
    #[schema(example = "Hi {{ contact.name }}\n\nUnsubscribe: {{ unsubscribe_url }}")]
    text: Option<String>,
    /// To whom.
    #[schema(min_items = 1, max_items = 100)]
    list_ids: Vec<Uuid>,
    /// Absent or null: whichever route there is, by weight and health.
    route_id: Option<Uuid>,
    /// When `send` lets it go; absent or null: at once.
    scheduled_at: Option<DateTime<Utc>>,
}

/// Write a campaign
#[utoipa::path(post, path = "/campaigns", operation_id = "create_campaign", tag = "campaigns", security(("bearer" = ["editor"])),
    responses((status = 201, description = "The campaign, a draft", body = CampaignBody)))]
async fn create(
    State(state): State<AppState>,
    caller: Editor,
    Json(body): Json<NewBody>,
) -> ApiResult<(StatusCode, Json<CampaignBody>)> {
    let NewBody { name, subject, from, html, text, list_ids, route_id, scheduled_at } = body;
    let content = CampaignContent { name, subject, from_name: from.name, from_email: from.email, html, text };
    let draft = Draft { content, list_ids, route_id, scheduled_at };
    let mut transaction = database::begin(&state.pool).await?;
    let created = campaign::create(&mut transaction, caller.scope, draft, state.clock.now()).await?;
    transaction.commit().await?;
    Ok((StatusCode::CREATED, Json(created.into())))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CampaignsQuery {
    page: Option<i64>,
    limit: Option<i64>,
    /// Part of the name or the subject.
    #[serde(default)]
    search: String,
    /// In this state.
    state: Option<CampaignState>,
    /// Made on this day or later (UTC).
    date_from: Option<NaiveDate>,
    /// Made on this day or earlier (UTC).
    date_to: Option<NaiveDate>,
}

/// PostgreSQL's dates begin and end where ours do not.
pub(super) fn in_years(dates: [(&str, Option<NaiveDate>); 2]) -> Result<(), Error> {
    let wrong = dates.into_iter().find_map(|(field, date)| Some((field, date.filter(|date| !(1..=9999).contains(&date.year()))?)));
    match wrong {
        Some((field, date)) => Err(Error::invalid(field, format!("must be in the years 1 to 9999, not {date}"))),
        None => Ok(()),
    }
}

/// The workspace's campaigns
#[utoipa::path(get, path = "/campaigns", operation_id = "list_campaigns", tag = "campaigns", security(("bearer" = ["viewer"])),
    params(CampaignsQuery), responses((status = 200, description = "A page of campaigns", body = Page<Summary>)))]
async fn page(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<CampaignsQuery>,
) -> ApiResult<Json<Page<Summary>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    in_years([("date_from", query.date_from), ("date_to", query.date_to)])?;
    let filter = Filter { search: query.search, state: query.state, date_from: query.date_from, date_to: query.date_to };
    Ok(Json(campaign::page(&state.pool, caller.scope, &filter, request).await?.map(Summary::from)))
}

/// One campaign
#[utoipa::path(get, path = "/campaigns/{id}", operation_id = "get_campaign", tag = "campaigns", security(("bearer" = ["viewer"])),
    responses((status = 200, description = "The campaign", body = CampaignBody)))]
async fn one(State(state): State<AppState>, caller: Caller, Path(id): Path<Uuid>) -> ApiResult<Tagged<CampaignBody>> {
    let campaign = campaign::find(&state.pool, caller.scope, id).await?;
    Ok(Tagged(campaign.updated_at, campaign.into()))
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SenderChange)]
struct FromChange {
    #[schema(max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", example = "The Shop")]
    name: Option<String>,
    #[schema(format = "idn-email", min_length = 3, max_length = 254, example = "news@shop.example.com")]
    email: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CampaignChange)]
struct ChangeBody {
    #[schema(min_length = 1, max_length = 200, pattern = r"\S", example = "Spring sale")]
    name: Option<String>,
    #[schema(min_length = 1, max_length = 200, example = "{{ contact.name }}, spring is here")]
    subject: Option<String>,
    #[serde(default)]
    from: FromChange,
    #[schema(min_length = 1, example = "<p>Hi {{ contact.name }}</p><p><a href=\"{{ unsubscribe_url }}\">Unsubscribe</a></p>")]
    html: Option<String>,
    /// Null: derived from the HTML.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, example = "Hi {{ contact.name }}\n\nUnsubscribe: {{ unsubscribe_url }}")]
    text: Option<Option<String>>,
    #[schema(min_items = 1, max_items = 100)]
    list_ids: Option<Vec<Uuid>>,
    /// Null: whichever route there is.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Uuid>)]
    route_id: Option<Option<Uuid>>,
    /// Null: at once.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    scheduled_at: Option<Option<DateTime<Utc>>>,
}

/// Change a draft
///
/// What is absent stays as it is.
#[utoipa::path(patch, path = "/campaigns/{id}", operation_id = "update_campaign", tag = "campaigns", security(("bearer" = ["editor"])),
    responses((status = 200, description = "The campaign", body = CampaignBody),
              (status = 409, description = "the campaign is sending")))]
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
    let mut transaction = database::begin(&state.pool).await?;
    campaign::expect(&mut transaction, caller.scope, id, &expected).await?;
    let changed = campaign::change(&mut transaction, caller.scope, id, change, state.clock.now()).await?;
    transaction.commit().await?;
    Ok(Tagged(changed.updated_at, changed.into()))
}

/// Remove a campaign
#[utoipa::path(delete, path = "/campaigns/{id}", operation_id = "delete_campaign", tag = "campaigns", security(("bearer" = ["editor"])),
    responses((status = 204, description = "It is gone"), (status = 409, description = "the campaign is sending")))]
async fn remove(
    State(state): State<AppState>,
    caller: Editor,
    Path(id): Path<Uuid>,
    IfMatch(expected): IfMatch,
) -> ApiResult<StatusCode> {
    let mut transaction = database::begin(&state.pool).await?;
    campaign::expect(&mut transaction, caller.scope, id, &expected).await?;
    campaign::delete(&mut transaction, caller.scope, id).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, ToSchema)]
#[schema(as = CampaignMoved)]
struct MovedBody {
    id: Uuid,
    state: CampaignState,
    /// The job that does the rest; null where nothing is left to do.
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
    let mut transaction = database::begin(&state.pool).await?;
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

/// Send a campaign
///
/// The audience is who is subscribed to its lists now.
#[utoipa::path(post, path = "/campaigns/{id}/send", operation_id = "send_campaign", tag = "campaigns", security(("bearer" = ["editor"])),
    responses((status = 202, description = "It is on its way, or waits for its time", body = MovedBody), (status = 409, description = "the campaign is not a draft")))]
async fn send(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<Accepted> {
    shift(&state, &caller, id, Move::Send).await
}

/// Pause a campaign
///
/// No new message is started 5 seconds later.
#[utoipa::path(post, path = "/campaigns/{id}/pause", operation_id = "pause_campaign", tag = "campaigns", security(("bearer" = ["editor"])),
    responses((status = 202, description = "It is held back", body = MovedBody), (status = 409, description = "the campaign is not sending")))]
async fn pause(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<Accepted> {
    shift(&state, &caller, id, Move::Pause).await
}

/// Resume a paused campaign
#[utoipa::path(post, path = "/campaigns/{id}/resume", operation_id = "resume_campaign", tag = "campaigns", security(("bearer" = ["editor"])),
    responses((status = 202, description = "It goes on", body = MovedBody), (status = 409, description = "the campaign is not paused")))]
async fn resume(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<Accepted> {
    shift(&state, &caller, id, Move::Resume).await
}

/// Cancel a campaign
///
/// Whoever was not written to is counted as cancelled.
#[utoipa::path(post, path = "/campaigns/{id}/cancel", operation_id = "cancel_campaign", tag = "campaigns", security(("bearer" = ["editor"])),
    responses((status = 202, description = "It is over", body = MovedBody), (status = 409, description = "the campaign is finished")))]
async fn cancel(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<Accepted> {
    shift(&state, &caller, id, Move::Cancel).await
}

/// Try again those who failed
#[utoipa::path(post, path = "/campaigns/{id}/retry-failed", operation_id = "retry_failed", tag = "campaigns", security(("bearer" = ["editor"])),
    responses((status = 202, description = "They are tried again", body = MovedBody), (status = 409, description = "the campaign is not over")))]
async fn retry_failed(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<Accepted> {
    shift(&state, &caller, id, Move::RetryFailed).await
}

/// Send again to those in doubt
///
/// Some of them may have the mail already: that is why a person decides.
#[utoipa::path(post, path = "/campaigns/{id}/resend-unknown", operation_id = "resend_unknown", tag = "campaigns", security(("bearer" = ["editor"])),
    responses((status = 202, description = "They are sent to again", body = MovedBody), (status = 409, description = "the campaign is not over")))]
async fn resend_unknown(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<Accepted> {
    shift(&state, &caller, id, Move::ResendUnknown).await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PreviewFor)]
struct PreviewBody {
    contact_id: Uuid,
}

/// A campaign as one contact would read it
///
/// The link in it leads nowhere, so that whoever looks cannot unsubscribe the contact.
#[utoipa::path(post, path = "/campaigns/{id}/preview", operation_id = "preview_campaign", tag = "campaigns", security(("bearer" = ["viewer"])),
    responses((status = 200, description = "What the contact reads", body = Rendered)))]
async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Json(body): Json<PreviewBody>,
) -> ApiResult<Json<Rendered>> {
    let nowhere = format!("{}/u/preview", state.settings.api.public_url.as_str().trim_end_matches('/'));
    Ok(Json(preview::of(&state.pool, caller.scope, id, body.contact_id, &nowhere).await?))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TestMail)]
struct TestBody {
    /// Up to five addresses.
    #[schema(min_items = 1, max_items = 5, example = json!(["ann@example.com"]))]
    to: Vec<String>,
}

/// Send a test mail
#[utoipa::path(post, path = "/campaigns/{id}/test", operation_id = "test_campaign", tag = "campaigns", security(("bearer" = ["editor"])),
    responses((status = 202, description = "A job sends it", body = MovedBody)))]
async fn test(
    State(state): State<AppState>,
    caller: Editor,
    Path(id): Path<Uuid>,
    Json(body): Json<TestBody>,
) -> ApiResult<Accepted> {
    let mut transaction = database::begin(&state.pool).await?;
    let moved = transitions::test(&mut transaction, caller.scope, id, &body.to).await?;
    transaction.commit().await?;
    state.ring(Lane::Critical);
    Ok(accepted(moved))
}

/// How far a campaign is
#[utoipa::path(get, path = "/campaigns/{id}/progress", operation_id = "get_campaign_progress", tag = "campaigns", security(("bearer" = ["viewer"])),
    responses((status = 200, description = "All numbers of one moment", body = Progress)))]
async fn how_far(State(state): State<AppState>, caller: Caller, Path(id): Path<Uuid>) -> ApiResult<Json<Progress>> {
    Ok(Json(state.counts.of(&state.pool, caller.scope, id).await?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RecipientsQuery {
    page: Option<i64>,
    limit: Option<i64>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Recipient)]
struct RecipientBody {
    contact_id: Uuid,
    /// Empty where the contact is gone and nothing was sent to it.
    #[schema(example = "ann@example.com")]
    email: String,
    #[schema(example = "Ann Example")]
    name: String,
    #[schema(schema_with = words::recipient_state)]
    state: String,
}

impl std::convert::From<Listed> for RecipientBody {
    fn from(Listed { contact_id, email, name, state }: Listed) -> Self {
        Self { contact_id, email, name, state }
    }
}

/// To whom a campaign goes
///
/// Before the launch: who is subscribed to its lists now. After: the audience as it was frozen.
#[utoipa::path(get, path = "/campaigns/{id}/recipients", operation_id = "list_recipients", tag = "campaigns", security(("bearer" = ["viewer"])),
    params(RecipientsQuery), responses((status = 200, description = "A page of recipients", body = Page<RecipientBody>)))]
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
