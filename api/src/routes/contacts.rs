//! Contacts.

use std::collections::BTreeSet;

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    contacts::{
        attributes::Attributes,
        contact::{self, Change, Contact, ContactState, Filter, NewContact},
        list, member,
    },
    database,
    error::Error,
    page::{Page, PageRequest},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    caller::{Caller, Editor},
    error::ApiResult,
    extract::{Json, Path, Query},
    front::etags::{IfMatch, Tagged},
    state::AppState,
};

/// `/contacts`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(page, create)).routes(routes!(one, change, remove))
}

/// A contact as it is told.
#[derive(Serialize, ToSchema)]
#[schema(as = Contact)]
pub struct ContactBody {
    id: Uuid,
    workspace_id: Uuid,
    #[schema(format = "idn-email", example = "ann@example.com")]
    email: String,
    #[schema(example = "Ann Example")]
    name: String,
    #[schema(value_type = Object, example = json!({ "city": "Genève" }))]
    attributes: Attributes,
    #[schema(value_type = ContactState)]
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewContact)]
struct NewBody {
    #[schema(format = "idn-email", min_length = 3, max_length = 254, example = "ann@example.com")]
    email: String,
    /// Without control characters.
    #[serde(default)]
    #[schema(max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", example = "Ann Example")]
    name: String,
    /// What templates may show; 8 KiB as JSON at most.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({ "city": "Genève" }))]
    attributes: Attributes,
    /// The lists that it joins.
    #[serde(default)]
    #[schema(max_items = 100)]
    list_ids: Vec<Uuid>,
}

/// Lists that a new contact joins at most.
const MOST_LISTS: usize = 100;

/// Make a contact
#[utoipa::path(post, path = "/contacts", operation_id = "create_contact", tag = "contacts", security(("bearer" = ["editor"])),
    responses((status = 201, description = "The contact", body = ContactBody),
              (status = 409, description = "a contact with the e-mail ann@example.com exists already")))]
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
    let mut transaction = database::begin(&state.pool).await?;
    // In the order of their ids, so that two requests never wait for each other.
    let created = contact::create(&mut transaction, caller.scope, NewContact { email, name, attributes }).await?;
    for list_id in list_ids {
        member::add(&mut transaction, caller.scope, list_id, &[created.id]).await?;
    }
    transaction.commit().await?;
    Ok((StatusCode::CREATED, Json(created.into())))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ContactsQuery {
    page: Option<i64>,
    limit: Option<i64>,
    /// Part of the address or the name.
    #[serde(default)]
    search: String,
    /// In this state.
    state: Option<ContactState>,
    /// On this list.
    list_id: Option<Uuid>,
}

/// The workspace's contacts
#[utoipa::path(get, path = "/contacts", operation_id = "list_contacts", tag = "contacts", security(("bearer" = ["viewer"])),
    params(ContactsQuery), responses((status = 200, description = "A page of contacts", body = Page<ContactBody>)))]
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

/// One contact
#[utoipa::path(get, path = "/contacts/{id}", operation_id = "get_contact", tag = "contacts", security(("bearer" = ["viewer"])),
    responses((status = 200, description = "The contact", body = ContactBody)))]
async fn one(State(state): State<AppState>, caller: Caller, Path(id): Path<Uuid>) -> ApiResult<Tagged<ContactBody>> {
    let contact = contact::find(&state.pool, caller.scope, id).await?;
    Ok(Tagged(contact.updated_at, contact.into()))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ContactChange)]
struct ChangeBody {
    #[schema(format = "idn-email", min_length = 3, max_length = 254, example = "ann@example.com")]
    email: Option<String>,
    /// Without control characters.
    #[schema(max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", example = "Ann Example")]
    name: Option<String>,
    /// In place of all that were there; 8 KiB as JSON at most.
    #[schema(value_type = Option<Object>, example = json!({ "city": "Genève" }))]
    attributes: Option<Attributes>,
    state: Option<ContactState>,
}

/// Change a contact
///
/// What is absent or null stays as it is.
#[utoipa::path(patch, path = "/contacts/{id}", operation_id = "update_contact", tag = "contacts", security(("bearer" = ["editor"])),
    responses((status = 200, description = "The contact", body = ContactBody),
              (status = 409, description = "a contact with the e-mail ann@example.com exists already")))]
async fn change(
    State(state): State<AppState>,
    caller: Editor,
    Path(id): Path<Uuid>,
    IfMatch(expected): IfMatch,
    Json(body): Json<ChangeBody>,
) -> ApiResult<Tagged<ContactBody>> {
    let ChangeBody { email, name, attributes, state: subscription } = body;
    let change = Change { email, name, attributes, state: subscription };
    let mut transaction = database::begin(&state.pool).await?;
    contact::expect(&mut transaction, caller.scope, id, &expected).await?;
    let changed = contact::change(&mut transaction, caller.scope, id, change, state.clock.now()).await?;
    transaction.commit().await?;
    Ok(Tagged(changed.updated_at, changed.into()))
}

/// Remove a contact
///
/// It leaves its lists; what was sent to it stays in the ledger.
#[utoipa::path(delete, path = "/contacts/{id}", operation_id = "delete_contact", tag = "contacts", security(("bearer" = ["editor"])),
    responses((status = 204, description = "It is gone")))]
async fn remove(
    State(state): State<AppState>,
    caller: Editor,
    Path(id): Path<Uuid>,
    IfMatch(expected): IfMatch,
) -> ApiResult<StatusCode> {
    let mut transaction = database::begin(&state.pool).await?;
    contact::expect(&mut transaction, caller.scope, id, &expected).await?;
    contact::delete(&mut transaction, caller.scope, id).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
