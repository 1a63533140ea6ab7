//! Lists and who is on them.

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    routing::{delete, get},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    contacts::{
        contact::{self, ContactState, Filter},
        list::{self, List},
        member,
    },
    page::{Page, PageRequest},
};
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
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/lists", get(page).post(create))
        .route("/lists/{id}", get(one).patch(rename).delete(remove))
        .route("/lists/{id}/contacts", get(contacts).post(add))
        .route("/lists/{id}/contacts/{contact_id}", delete(take_off))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

#[derive(Serialize)]
struct ListBody {
    id: Uuid,
    workspace_id: Uuid,
    name: String,
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

async fn create(State(state): State<AppState>, caller: Editor, Json(body): Json<Named>) -> ApiResult<(StatusCode, Json<ListBody>)> {
    let created = list::create(&mut *state.pool.acquire().await?, caller.scope, &body.name).await?;
    Ok((StatusCode::CREATED, Json(created.into())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListsQuery {
    page: Option<i64>,
    limit: Option<i64>,
    #[serde(default)]
    search: String,
}

async fn page(State(state): State<AppState>, caller: Caller, Query(query): Query<ListsQuery>) -> ApiResult<Json<Page<ListBody>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    Ok(Json(list::page(&state.pool, caller.scope, &query.search, request).await?.map(ListBody::from)))
}

async fn one(State(state): State<AppState>, caller: Caller, Path(id): Path<Uuid>) -> ApiResult<Tagged<ListBody>> {
    let list = list::find(&state.pool, caller.scope, id).await?;
    Ok(Tagged(list.updated_at, list.into()))
}

async fn rename(
    State(state): State<AppState>,
    caller: Editor,
    Path(id): Path<Uuid>,
    IfMatch(expected): IfMatch,
    Json(body): Json<Named>,
) -> ApiResult<Tagged<ListBody>> {
    let mut transaction = state.pool.begin().await?;
    list::expect(&mut transaction, caller.scope, id, &expected).await?;
    list::rename(&mut transaction, caller.scope, id, &body.name).await?;
    transaction.commit().await?;
    let list = list::find(&state.pool, caller.scope, id).await?;
    Ok(Tagged(list.updated_at, list.into()))
}

async fn remove(
    State(state): State<AppState>,
    caller: Editor,
    Path(id): Path<Uuid>,
    IfMatch(expected): IfMatch,
) -> ApiResult<StatusCode> {
    let mut transaction = state.pool.begin().await?;
    list::expect(&mut transaction, caller.scope, id, &expected).await?;
    list::delete(&mut transaction, caller.scope, id).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MembersQuery {
    page: Option<i64>,
    limit: Option<i64>,
    #[serde(default)]
    search: String,
    state: Option<ContactState>,
}

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    contact_ids: Vec<Uuid>,
}

#[derive(Serialize)]
struct Added {
    added: u64,
}

async fn add(
    State(state): State<AppState>,
    caller: Editor,
    Path(id): Path<Uuid>,
    Json(body): Json<Members>,
) -> ApiResult<Json<Added>> {
    let mut transaction = state.pool.begin().await?;
    let added = member::add(&mut transaction, caller.scope, id, &body.contact_ids).await?;
    transaction.commit().await?;
    Ok(Json(Added { added }))
}

async fn take_off(
    State(state): State<AppState>,
    caller: Editor,
    Path((id, contact_id)): Path<(Uuid, Uuid)>,
) -> ApiResult<StatusCode> {
    let mut transaction = state.pool.begin().await?;
    member::remove(&mut transaction, caller.scope, id, contact_id).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
