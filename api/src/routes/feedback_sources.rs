//! Who may tell a workspace's bounces and complaints over HTTP. For owners.

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    database,
    feedback::source::{self, FeedbackSource, Kind, NewSource},
    page::{Page, PageRequest},
    settings::Secret,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    caller::Owner,
    error::ApiResult,
    extract::{Json, Path, Query},
    state::AppState,
};

/// `/feedback-sources`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(page, create)).routes(routes!(one, remove))
}

#[derive(Serialize, ToSchema)]
#[schema(as = FeedbackSource)]
struct SourceBody {
    id: Uuid,
    workspace_id: Uuid,
    kind: Kind,
    #[schema(example = "SES in Ireland")]
    name: String,
    /// Of SES: the one topic that may tell.
    #[schema(example = "arn:aws:sns:eu-west-1:123456789012:feedback")]
    topic: Option<String>,
    /// It may tell of the mails of every workspace.
    everywhere: bool,
    /// Where the provider posts.
    #[schema(example = "https://mail.example.com/api/v1/inbound/ses/01936f2a-7c1e-7a3b-9c4d-5e6f70818293")]
    url: String,
    /// When a post was taken last.
    received_at: Option<DateTime<Utc>>,
    /// When a post was refused last.
    refused_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl SourceBody {
    fn new(state: &AppState, source: FeedbackSource) -> Self {
        let base = state.settings.api.public_url.as_str().trim_end_matches('/');
        let url = format!("{base}/api/v1/inbound/{}/{}", source.kind.name(), source.id);
        let FeedbackSource { id, workspace_id, kind, name, topic, everywhere, received_at, refused_at, created_at, updated_at } =
            source;
        Self { id, workspace_id, kind, name, topic, everywhere, url, received_at, refused_at, created_at, updated_at }
    }
}

/// A source that was just made.
#[derive(Serialize, ToSchema)]
#[schema(as = NewFeedbackSourceAnswer)]
struct Made {
    #[serde(flatten)]
    source: SourceBody,
    /// What it signs with, where that was made here: told this once. Of Postmark it is the password in the webhook's address.
    #[schema(example = "Zm9yIHRoZSBkb2N1bWVudCwgbm90IGEgc2VjcmV0")]
    secret: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewFeedbackSource)]
struct NewBody {
    kind: Kind,
    #[schema(min_length = 1, max_length = 200, pattern = r"\S", example = "Shop")]
    name: String,
    /// SendGrid's public key, Mailgun's signing key, Postmark's password, or what `generic` signs with. Of the last two one is made where it is
    /// absent; not for SES.
    #[schema(value_type = Option<String>, max_length = 500, format = Password, example = "correct horse battery staple")]
    secret: Option<Secret>,
    /// Of SES: the ARN of its topic.
    #[schema(max_length = 256, example = "arn:aws:sns:eu-west-1:123456789012:feedback")]
    topic: Option<String>,
    /// For admins: it may tell of the mails of every workspace.
    #[serde(default)]
    everywhere: bool,
}

/// Make a source
#[utoipa::path(post, path = "/feedback-sources", operation_id = "create_feedback_source", tag = "feedback", security(("bearer" = ["owner"])),
    responses((status = 201, description = "The source", body = Made), (status = 409, description = "a source with the name \"Shop\" exists already")))]
async fn create(State(state): State<AppState>, caller: Owner, Json(body): Json<NewBody>) -> ApiResult<(StatusCode, Json<Made>)> {
    let NewBody { kind, name, secret, topic, everywhere } = body;
    let new = NewSource { kind, name, secret, topic, everywhere };
    let (made, secret) = source::create(&mut *state.pool.acquire().await?, caller.scope, &state.vault, new).await?;
    let secret = secret.map(|secret| secret.expose().to_owned());
    Ok((StatusCode::CREATED, Json(Made { source: SourceBody::new(&state, made), secret })))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SourcesQuery {
    page: Option<i64>,
    limit: Option<i64>,
}

/// The workspace's sources
#[utoipa::path(get, path = "/feedback-sources", operation_id = "list_feedback_sources", tag = "feedback", security(("bearer" = ["owner"])),
    params(SourcesQuery), responses((status = 200, description = "A page of sources", body = Page<SourceBody>)))]
async fn page(
    State(state): State<AppState>,
    caller: Owner,
    Query(query): Query<SourcesQuery>,
) -> ApiResult<Json<Page<SourceBody>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    Ok(Json(source::page(&state.pool, caller.scope, request).await?.map(|found| SourceBody::new(&state, found))))
}

/// One source
#[utoipa::path(get, path = "/feedback-sources/{id}", operation_id = "get_feedback_source", tag = "feedback", security(("bearer" = ["owner"])),
    responses((status = 200, description = "The source", body = SourceBody)))]
async fn one(State(state): State<AppState>, caller: Owner, Path(id): Path<Uuid>) -> ApiResult<Json<SourceBody>> {
    let found = source::find(&state.pool, caller.scope, id).await?;
    Ok(Json(SourceBody::new(&state, found)))
}

/// Take a source away
///
/// What it has told stays.
#[utoipa::path(delete, path = "/feedback-sources/{id}", operation_id = "delete_feedback_source", tag = "feedback", security(("bearer" = ["owner"])),
    responses((status = 204, description = "It is gone")))]
async fn remove(State(state): State<AppState>, caller: Owner, Path(id): Path<Uuid>) -> ApiResult<StatusCode> {
    let mut transaction = database::begin(&state.pool).await?;
    source::delete(&mut transaction, caller.scope, id).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
