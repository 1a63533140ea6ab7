//! Lists and who is on them.

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    contacts::{
        contact::{self, ContactState, Filter},
        list::{self, List},
        member,
    },
    database,
    page::{Page, PageRequest},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::contacts::ContactBody;
use crate::{
    caller::{Caller, Editor},
    error::ApiResult,
    extract::{Json, Path, Query},
    front::etags::{IfMatch, Tagged},
    state::AppState,
};

/// `/lists`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(page, create))
        .routes(routes!(one, rename, remove))
        .routes(routes!(contacts, add))
        .routes(routes!(take_off))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ListName)]
struct Named {
    /// 1 to 200 characters; the white space around them is dropped. There once in a workspace.
    #[schema(min_length = 1, max_length = 200, pattern = r"\S", example = "Customers")]
    name: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = List)]
struct ListBody {
    id: Uuid,
    workspace_id: Uuid,
    #[schema(example = "Customers")]
    name: String,
    /// How many are on it.
    #[schema(minimum = 0, example = 2400)]
    contacts: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<List> for ListBody {
    fn from(list: List) -> Self {
        let List { id, workspace_id, name, contacts, created_at, updated_at } = list;
        Self { id, workspace_id, name, contacts, created_at, updated_at }
    }
}

/// Make a list
#[utoipa::path(post, path = "/lists", operation_id = "create_list", tag = "lists", security(("bearer" = ["editor"])),
    responses((status = 201, description = "The list", body = ListBody), (status = 409, description = "a list with the name \"Customers\" exists already")))]
async fn create(State(state): State<AppState>, caller: Editor, Json(body): Json<Named>) -> ApiResult<(StatusCode, Json<ListBody>)> {
    let created = list::create(&mut *state.pool.acquire().await?, caller.scope, &body.name).await?;
    Ok((StatusCode::CREATED, Json(created.into())))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListsQuery {
    page: Option<i64>,
    limit: Option<i64>,
    /// Part of the name.
    #[serde(default)]
    search: String,
}

/// The workspace's lists
#[utoipa::path(get, path = "/lists", operation_id = "list_lists", tag = "lists", security(("bearer" = ["viewer"])),
    params(ListsQuery), responses((status = 200, description = "A page of lists", body = Page<ListBody>)))]
async fn page(State(state): State<AppState>, caller: Caller, Query(query): Query<ListsQuery>) -> ApiResult<Json<Page<ListBody>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    Ok(Json(list::page(&state.pool, caller.scope, &query.search, request).await?.map(ListBody::from)))
}

/// One list
#[utoipa::path(get, path = "/lists/{id}", operation_id = "get_list", tag = "lists", security(("bearer" = ["viewer"])),
    responses((status = 200, description = "The list", body = ListBody)))]
async fn one(State(state): State<AppState>, caller: Caller, Path(id): Path<Uuid>) -> ApiResult<Tagged<ListBody>> {
    let list = list::find(&state.pool, caller.scope, id).await?;
    Ok(Tagged(list.updated_at, list.into()))
}

/// Rename a list
#[utoipa::path(patch, path = "/lists/{id}", operation_id = "rename_list", tag = "lists", security(("bearer" = ["editor"])),
    responses((status = 200, description = "The list", body = ListBody), (status = 409, description = "a list with the name \"Customers\" exists already")))]
async fn rename(
    State(state): State<AppState>,
    caller: Editor,
    Path(id): Path<Uuid>,
    IfMatch(expected): IfMatch,
    Json(body): Json<Named>,
) -> ApiResult<Tagged<ListBody>> {
    let mut transaction = database::begin(&state.pool).await?;
    list::expect(&mut transaction, caller.scope, id, &expected).await?;
    list::rename(&mut transaction, caller.scope, id, &body.name).await?;
    transaction.commit().await?;
    let list = list::find(&state.pool, caller.scope, id).await?;
    Ok(Tagged(list.updated_at, list.into()))
}

/// Remove a list
///
/// Its contacts stay.
#[utoipa::path(delete, path = "/lists/{id}", operation_id = "delete_list", tag = "lists", security(("bearer" = ["editor"])),
    responses((status = 204, description = "It is gone")))]
async fn remove(
    State(state): State<AppState>,
    caller: Editor,
    Path(id): Path<Uuid>,
    IfMatch(expected): IfMatch,
) -> ApiResult<StatusCode> {
    let mut transaction = database::begin(&state.pool).await?;
    list::expect(&mut transaction, caller.scope, id, &expected).await?;
    list::delete(&mut transaction, caller.scope, id).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MembersQuery {
    page: Option<i64>,
    limit: Option<i64>,
    /// Part of the address or the name.
    #[serde(default)]
    search: String,
    /// In this state.
    state: Option<ContactState>,
}

/// Who is on a list
#[utoipa::path(get, path = "/lists/{id}/contacts", operation_id = "list_members", tag = "lists", security(("bearer" = ["viewer"])),
    params(MembersQuery), responses((status = 200, description = "A page of contacts", body = Page<ContactBody>)))]
async fn contacts(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<MembersQuery>,
) -> ApiResult<Json<Page<ContactBody>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    let list = list::find(&state.pool, caller.scope, id).await?;
    let filter = Filter { search: query.search, state: query.state, list_id: Some(id) };
    Ok(Json(contact::page(&state.pool, list.workspace_id, &filter, request).await?.map(ContactBody::from)))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Members {
    #[schema(min_items = 1, max_items = 1000)]
    contact_ids: Vec<Uuid>,
}

#[derive(Serialize, ToSchema)]
struct Added {
    /// Those that were not on it before.
    #[schema(minimum = 0, example = 2)]
    added: u64,
}

/// Put contacts on a list
///
/// All of them or, where one is not there, none. Those that are on it already stay.
#[utoipa::path(post, path = "/lists/{id}/contacts", operation_id = "add_members", tag = "lists", security(("bearer" = ["editor"])),
    responses((status = 200, description = "How many are new on it", body = Added)))]
async fn add(
    State(state): State<AppState>,
    caller: Editor,
    Path(id): Path<Uuid>,
    Json(body): Json<Members>,
) -> ApiResult<Json<Added>> {
    let mut transaction = database::begin(&state.pool).await?;
    let added = member::add(&mut transaction, caller.scope, id, &body.contact_ids).await?;
    transaction.commit().await?;
    Ok(Json(Added { added }))
}

/// Take a contact off a list
#[utoipa::path(delete, path = "/lists/{id}/contacts/{contact_id}", operation_id = "remove_member", tag = "lists", security(("bearer" = ["editor"])),
    responses((status = 204, description = "It is off the list")))]
async fn take_off(
    State(state): State<AppState>,
    caller: Editor,
    Path((id, contact_id)): Path<(Uuid, Uuid)>,
) -> ApiResult<StatusCode> {
    let mut transaction = database::begin(&state.pool).await?;
    member::remove(&mut transaction, caller.scope, id, contact_id).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
