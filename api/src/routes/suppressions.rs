//! Addresses and domains that get no mail.

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    database,
    page::{Page, PageRequest},
    suppressions::{
        policy::{self, Policy},
        suppression::{self, Filter, Kind, Reason, Suppression},
    },
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    caller::{Caller, Editor, Owner},
    error::ApiResult,
    extract::{Json, Path, Query},
    front::etags::{IfMatch, Tagged},
    state::AppState,
};

/// `/suppressions` and `/suppression-policy`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(page, create)).routes(routes!(remove)).routes(routes!(show_policy, set_policy))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Suppression)]
struct SuppressionBody {
    id: Uuid,
    workspace_id: Uuid,
    #[schema(value_type = Kind)]
    kind: String,
    #[schema(example = "bob@example.com")]
    value: String,
    #[schema(value_type = Reason)]
    reason: String,
    /// It counts until then; null: for good.
    expires_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

impl From<Suppression> for SuppressionBody {
    fn from(suppression: Suppression) -> Self {
        let Suppression { id, workspace_id, kind, value, reason, expires_at, created_at } = suppression;
        Self { id, workspace_id, kind, value, reason, expires_at, created_at }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSuppression)]
struct NewBody {
    kind: Kind,
    /// An address or a domain, as `kind` says.
    #[schema(min_length = 1, max_length = 254, example = "bob@example.com")]
    value: String,
    #[serde(default)]
    reason: Reason,
}

/// Suppress an address or a domain
#[utoipa::path(post, path = "/suppressions", operation_id = "create_suppression", tag = "suppressions", security(("bearer" = ["editor"])),
    responses((status = 201, description = "The suppression", body = SuppressionBody),
              (status = 409, description = "the address bob@example.com is suppressed already")))]
async fn create(
    State(state): State<AppState>,
    caller: Editor,
    Json(body): Json<NewBody>,
) -> ApiResult<(StatusCode, Json<SuppressionBody>)> {
    let created = suppression::create(&mut *state.pool.acquire().await?, caller.scope, body.kind, &body.value, body.reason).await?;
    Ok((StatusCode::CREATED, Json(created.into())))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SuppressionsQuery {
    page: Option<i64>,
    limit: Option<i64>,
    /// Part of the value.
    #[serde(default)]
    search: String,
    /// Of this kind.
    kind: Option<Kind>,
}

/// The workspace's suppressions
#[utoipa::path(get, path = "/suppressions", operation_id = "list_suppressions", tag = "suppressions", security(("bearer" = ["viewer"])),
    params(SuppressionsQuery), responses((status = 200, description = "A page of suppressions", body = Page<SuppressionBody>)))]
async fn page(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<SuppressionsQuery>,
) -> ApiResult<Json<Page<SuppressionBody>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    let filter = Filter { search: query.search, kind: query.kind };
    Ok(Json(suppression::page(&state.pool, caller.scope, &filter, request).await?.map(SuppressionBody::from)))
}

/// Lift a suppression
#[utoipa::path(delete, path = "/suppressions/{id}", operation_id = "delete_suppression", tag = "suppressions", security(("bearer" = ["editor"])),
    responses((status = 204, description = "It is lifted")))]
async fn remove(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<StatusCode> {
    let mut transaction = database::begin(&state.pool).await?;
    suppression::delete(&mut transaction, caller.scope, id).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the workspace does about bounces and complaints
#[utoipa::path(get, path = "/suppression-policy", operation_id = "get_suppression_policy", tag = "suppressions",
    security(("bearer" = ["viewer"])), responses((status = 200, description = "The policy; the defaults where none was set", body = Policy)))]
async fn show_policy(State(state): State<AppState>, caller: Caller) -> ApiResult<Tagged<Policy>> {
    let found = policy::of(&mut *state.pool.acquire().await?, caller.scope.workspace_id).await?;
    Ok(Tagged(found.updated_at, found.policy))
}

/// Set what the workspace does about bounces and complaints
///
/// A hard bounce and a complaint suppress for good under every policy.
#[utoipa::path(put, path = "/suppression-policy", operation_id = "set_suppression_policy", tag = "suppressions",
    security(("bearer" = ["owner"])), responses((status = 200, description = "The policy", body = Policy)))]
async fn set_policy(
    State(state): State<AppState>,
    caller: Owner,
    IfMatch(expected): IfMatch,
    Json(body): Json<Policy>,
) -> ApiResult<Tagged<Policy>> {
    let mut transaction = database::begin(&state.pool).await?;
    let set = policy::set(&mut transaction, caller.scope, &expected, &body).await?;
    transaction.commit().await?;
    Ok(Tagged(set.updated_at, set.policy))
}
