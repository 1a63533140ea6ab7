//! Routes of mail: where the house's relays are. For admins.

use axum::{Router, extract::State, http::StatusCode, routing::get};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use shared::{
    page::{Page, PageRequest},
    routes::route::{self, Change, NewRoute, Route, Tls},
    settings::Secret,
};
use uuid::Uuid;

use crate::{
    caller::Caller,
    error::ApiResult,
    extract::{Json, Path, Query},
    state::AppState,
};

/// `/routes`.
pub fn router() -> Router<AppState> {
    Router::new().route("/routes", get(page).post(create)).route("/routes/{id}", get(one).patch(change).delete(disable))
}

/// A route as it is told: never with its password.
#[derive(Serialize)]
struct RouteBody {
    id: Uuid,
    name: String,
    kind: String,
    url: String,
    username: Option<String>,
    has_password: bool,
    tls: Tls,
    max_connections: i32,
    rate_per_second: Option<f64>,
    weight: i32,
    disabled_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Route> for RouteBody {
    fn from(route: Route) -> Self {
        Self {
            id: route.id,
            name: route.name,
            kind: route.kind,
            url: route.url,
            username: route.username,
            has_password: route.has_password,
            tls: route.tls,
            max_connections: route.max_connections,
            rate_per_second: route.rate_per_second,
            weight: route.weight,
            disabled_at: route.disabled_at,
            created_at: route.created_at,
            updated_at: route.updated_at,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Relay,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBody {
    name: String,
    #[serde(default, rename = "kind")]
    _kind: Kind,
    url: String,
    username: Option<String>,
    password: Option<Secret>,
    #[serde(default)]
    tls: Tls,
    #[serde(default = "ten")]
    max_connections: i32,
    rate_per_second: Option<f64>,
    #[serde(default = "one_share")]
    weight: i32,
}

fn ten() -> i32 {
    10
}

fn one_share() -> i32 {
    1
}

async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Json(body): Json<NewBody>,
) -> ApiResult<(StatusCode, Json<RouteBody>)> {
    caller.require_admin()?;
    let NewBody { name, _kind: Kind::Relay, url, username, password, tls, max_connections, rate_per_second, weight } = body;
    let new = NewRoute { name, url, username, password, tls, max_connections, rate_per_second, weight };
    let created = route::create(&mut *state.pool.acquire().await?, &state.vault, new).await?;
    Ok((StatusCode::CREATED, Json(created.into())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoutesQuery {
    page: Option<i64>,
    limit: Option<i64>,
}

async fn page(State(state): State<AppState>, caller: Caller, Query(query): Query<RoutesQuery>) -> ApiResult<Json<Page<RouteBody>>> {
    caller.require_admin()?;
    let request = PageRequest::new(query.page, query.limit)?;
    Ok(Json(route::page(&state.pool, request).await?.map(RouteBody::from)))
}

async fn one(State(state): State<AppState>, caller: Caller, Path(id): Path<Uuid>) -> ApiResult<Json<RouteBody>> {
    caller.require_admin()?;
    Ok(Json(route::find(&mut *state.pool.acquire().await?, id).await?.into()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    name: Option<String>,
    url: Option<String>,
    #[serde(default, deserialize_with = "present")]
    username: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    password: Option<Option<Secret>>,
    tls: Option<Tls>,
    max_connections: Option<i32>,
    #[serde(default, deserialize_with = "present")]
    rate_per_second: Option<Option<f64>>,
    weight: Option<i32>,
    disabled: Option<bool>,
}

/// Tells `null` from a field that is not there.
pub(super) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

async fn change(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Json(body): Json<ChangeBody>,
) -> ApiResult<Json<RouteBody>> {
    caller.require_admin()?;
    let ChangeBody { name, url, username, password, tls, max_connections, rate_per_second, weight, disabled } = body;
    let change = Change { name, url, username, password, tls, max_connections, rate_per_second, weight, disabled };
    let mut transaction = state.pool.begin().await?;
    let changed = route::change(&mut transaction, &state.vault, id, change).await?;
    transaction.commit().await?;
    Ok(Json(changed.into()))
}

/// Campaigns and deliveries go on naming it, so it is disabled and not deleted.
async fn disable(State(state): State<AppState>, caller: Caller, Path(id): Path<Uuid>) -> ApiResult<StatusCode> {
    caller.require_admin()?;
    route::disable(&mut *state.pool.acquire().await?, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
