//! Contacts.

use std::collections::BTreeSet;

use axum::{Router, extract::State, http::StatusCode, routing::get};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    contacts::{
        attributes::Attributes,
        contact::{self, Change, Contact, ContactState, Filter, NewContact},
        list, member,
    },
    error::Error,
    page::{Page, PageRequest},
};
use uuid::Uuid;

use crate::{
    caller::{Caller, Editor},
    error::ApiResult,
    extract::{Json, Path, Query},
    front::etags::{IfMatch, Tagged},
    state::AppState,
};

/// `/contacts`.
pub fn router() -> Router<AppState> {
    Router::new().route("/contacts", get(page).post(create)).route("/contacts/{id}", get(one).patch(change).delete(remove))
}

/// A contact as it is told.
#[derive(Serialize)]
pub struct ContactBody {
    id: Uuid,
    workspace_id: Uuid,
    email: String,
    name: String,
    attributes: Attributes,
    state: String,
    unsubscribed_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Contact> for ContactBody {
    fn from(contact: Contact) -> Self {
        let Contact { id, workspace_id, email, name, attributes, state, unsubscribed_at, created_at, updated_at } = contact;
        Self { id, workspace_id, email, name, attributes: attributes.0, state, unsubscribed_at, created_at, updated_at }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBody {
    email: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    attributes: Attributes,
    #[serde(default)]
    list_ids: Vec<Uuid>,
}

/// Lists that a new contact joins at most.
const MOST_LISTS: usize = 100;

async fn create(
    State(state): State<AppState>,
    caller: Editor,
    Json(body): Json<NewBody>,
) -> ApiResult<(StatusCode, Json<ContactBody>)> {
    let NewBody { email, name, attributes, list_ids } = body;
    let list_ids: BTreeSet<Uuid> = list_ids.into_iter().collect();
    if list_ids.len() > MOST_LISTS {
        let message = format!("must name {MOST_LISTS} lists at most, not {}", list_ids.len());
        return Err(Error::invalid("list_ids", message).into());
    }
    let mut transaction = state.pool.begin().await?;
    // In the order of their ids, so that two requests never wait for each other.
    let created = contact::create(&mut transaction, caller.scope, NewContact { email, name, attributes }).await?;
    for list_id in list_ids {
        member::add(&mut transaction, caller.scope, list_id, &[created.id]).await?;
    }
    transaction.commit().await?;
    Ok((StatusCode::CREATED, Json(created.into())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContactsQuery {
    page: Option<i64>,
    limit: Option<i64>,
    #[serde(default)]
    search: String,
    state: Option<ContactState>,
    list_id: Option<Uuid>,
}

async fn page(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ContactsQuery>,
) -> ApiResult<Json<Page<ContactBody>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    if let Some(list_id) = query.list_id {
        list::find(&state.pool, caller.scope, list_id).await?;
    }
    let filter = Filter { search: query.search, state: query.state, list_id: query.list_id };
    Ok(Json(contact::page(&state.pool, caller.scope.workspace_id, &filter, request).await?.map(ContactBody::from)))
}

async fn one(State(state): State<AppState>, caller: Caller, Path(id): Path<Uuid>) -> ApiResult<Tagged<ContactBody>> {
    let contact = contact::find(&state.pool, caller.scope, id).await?;
    Ok(Tagged(contact.updated_at, contact.into()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    email: Option<String>,
    name: Option<String>,
    attributes: Option<Attributes>,
    state: Option<ContactState>,
}

async fn change(
    State(state): State<AppState>,
    caller: Editor,
    Path(id): Path<Uuid>,
    IfMatch(expected): IfMatch,
    Json(body): Json<ChangeBody>,
) -> ApiResult<Tagged<ContactBody>> {
    let ChangeBody { email, name, attributes, state: subscription } = body;
    let change = Change { email, name, attributes, state: subscription };
    let mut transaction = state.pool.begin().await?;
    contact::expect(&mut transaction, caller.scope, id, &expected).await?;
    let changed = contact::change(&mut transaction, caller.scope, id, change, state.clock.now()).await?;
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
    contact::expect(&mut transaction, caller.scope, id, &expected).await?;
    contact::delete(&mut transaction, caller.scope, id).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
