//! Addresses and domains that get no mail.

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    routing::{delete, get},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    page::{Page, PageRequest},
    suppressions::suppression::{self, Filter, Kind, Reason, Suppression},
};
use uuid::Uuid;

use crate::{
    caller::{Caller, Editor},
    error::ApiResult,
    extract::{Json, Path, Query},
    state::AppState,
};

/// `/suppressions`.
pub fn router() -> Router<AppState> {
    Router::new().route("/suppressions", get(page).post(create)).route("/suppressions/{id}", delete(remove))
}

#[derive(Serialize)]
struct SuppressionBody {
    id: Uuid,
    workspace_id: Uuid,
    kind: String,
    value: String,
    reason: String,
    created_at: DateTime<Utc>,
}

impl From<Suppression> for SuppressionBody {
    fn from(suppression: Suppression) -> Self {
        let Suppression { id, workspace_id, kind, value, reason, created_at } = suppression;
        Self { id, workspace_id, kind, value, reason, created_at }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBody {
    kind: Kind,
    value: String,
    #[serde(default)]
    reason: Reason,
}

async fn create(
    State(state): State<AppState>,
    caller: Editor,
    Json(body): Json<NewBody>,
) -> ApiResult<(StatusCode, Json<SuppressionBody>)> {
    let created = suppression::create(&mut *state.pool.acquire().await?, caller.scope, body.kind, &body.value, body.reason).await?;
    Ok((StatusCode::CREATED, Json(created.into())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SuppressionsQuery {
    page: Option<i64>,
    limit: Option<i64>,
    #[serde(default)]
    search: String,
    kind: Option<Kind>,
}

async fn page(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<SuppressionsQuery>,
) -> ApiResult<Json<Page<SuppressionBody>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    let filter = Filter { search: query.search, kind: query.kind };
    Ok(Json(suppression::page(&state.pool, caller.scope, &filter, request).await?.map(SuppressionBody::from)))
}

async fn remove(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<StatusCode> {
    let mut transaction = state.pool.begin().await?;
    suppression::delete(&mut transaction, caller.scope, id).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
