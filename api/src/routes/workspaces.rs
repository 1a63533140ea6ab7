//! Workspaces: admins make them, owners name them.

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    accounts::workspace::{self, Workspace},
    page::{Page, PageRequest},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    caller::{Admin, Caller, Owner},
    error::ApiResult,
    extract::{Json, Path, Query},
    front::etags::{IfMatch, Tagged},
    state::AppState,
};

/// `/workspaces`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(page, create)).routes(routes!(one, rename))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewWorkspace)]
struct Named {
    /// 1 to 200 characters; need not be unique.
    #[schema(min_length = 1, max_length = 200, pattern = r"\S", example = "Acme")]
    name: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Workspace)]
struct WorkspaceBody {
    id: Uuid,
    #[schema(example = "Acme")]
    name: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Workspace> for WorkspaceBody {
    fn from(workspace: Workspace) -> Self {
        let Workspace { id, name, created_at, updated_at } = workspace;
        Self { id, name, created_at, updated_at }
    }
}

/// Make a workspace
#[utoipa::path(post, path = "/workspaces", operation_id = "create_workspace", tag = "accounts", security(("bearer" = ["admin"])),
    responses((status = 201, description = "The workspace", body = WorkspaceBody)))]
async fn create(State(state): State<AppState>, _: Admin, Json(body): Json<Named>) -> ApiResult<(StatusCode, Json<WorkspaceBody>)> {
    let created = workspace::create(&mut *state.pool.acquire().await?, &body.name).await?;
    Ok((StatusCode::CREATED, Json(created.into())))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WorkspacesQuery {
    page: Option<i64>,
    limit: Option<i64>,
    /// Part of the name.
    #[serde(default)]
    search: String,
}

/// All workspaces
#[utoipa::path(get, path = "/workspaces", operation_id = "list_workspaces", tag = "accounts", security(("bearer" = ["admin"])),
    params(WorkspacesQuery), responses((status = 200, description = "A page of workspaces", body = Page<WorkspaceBody>)))]
async fn page(
    State(state): State<AppState>,
    _: Admin,
    Query(query): Query<WorkspacesQuery>,
) -> ApiResult<Json<Page<WorkspaceBody>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    Ok(Json(workspace::page(&state.pool, &query.search, request).await?.map(WorkspaceBody::from)))
}

/// One workspace
#[utoipa::path(get, path = "/workspaces/{id}", operation_id = "get_workspace", tag = "accounts", security(("bearer" = ["viewer"])),
    responses((status = 200, description = "The workspace", body = WorkspaceBody)))]
async fn one(State(state): State<AppState>, caller: Caller, Path(id): Path<Uuid>) -> ApiResult<Tagged<WorkspaceBody>> {
    let found = workspace::visible(&state.pool, caller.scope, id).await?;
    Ok(Tagged(found.updated_at, found.into()))
}

/// Rename a workspace
#[utoipa::path(patch, path = "/workspaces/{id}", operation_id = "rename_workspace", tag = "accounts", security(("bearer" = ["owner"])),
    responses((status = 200, description = "The workspace", body = WorkspaceBody)))]
async fn rename(
    State(state): State<AppState>,
    caller: Owner,
    Path(id): Path<Uuid>,
    IfMatch(expected): IfMatch,
    Json(body): Json<Named>,
) -> ApiResult<Tagged<WorkspaceBody>> {
    let renamed = workspace::rename(&state.pool, caller.scope, id, &expected, &body.name).await?;
    Ok(Tagged(renamed.updated_at, renamed.into()))
}
