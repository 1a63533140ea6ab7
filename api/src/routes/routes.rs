//! Routes of mail: where the house's relays are. For admins.

use axum::{
    extract::State,
    http::{HeaderName, StatusCode, header},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use shared::{
    database,
    page::{Page, PageRequest},
    queue::lane::Lane,
    routes::{
        health::Health,
        payload,
        route::{self, Change, NewRoute, Tls},
        standing::{self, Standing},
    },
    settings::Secret,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    caller::Admin,
    error::ApiResult,
    extract::{Json, Path, Query},
    front::etags::{IfMatch, Tagged},
    state::AppState,
};

/// `/routes`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(page, create)).routes(routes!(one, change, disable)).routes(routes!(check))
}

/// A route as it is told: never with its password.
#[derive(Serialize, ToSchema)]
#[schema(as = Route)]
struct RouteBody {
    id: Uuid,
    #[schema(example = "Relay 1")]
    name: String,
    #[schema(value_type = Kind)]
    kind: String,
    #[schema(example = "smtp://relay.example.com:587")]
    url: String,
    #[schema(example = "mochila")]
    username: Option<String>,
    has_password: bool,
    tls: Tls,
    max_connections: i32,
    rate_per_second: Option<f64>,
    weight: i32,
    disabled_at: Option<DateTime<Utc>>,
    health: HealthBody,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// How a route does, as all workers together find it.
#[derive(Serialize, ToSchema)]
#[schema(as = RouteHealth)]
struct HealthBody {
    /// `closed`: it is used; `open`: it is not, because its connections fail; `half_open`: one connection tries it.
    #[schema(pattern = "^(closed|open|half_open)$", example = "closed")]
    state: String,
    /// Since when.
    since: Option<DateTime<Utc>>,
    /// When the next connection may try it.
    retry_at: Option<DateTime<Utc>>,
    /// Failures since it last carried a message.
    #[schema(minimum = 0)]
    failures: i64,
    /// The last thing that went wrong.
    #[schema(example = "connection refused")]
    last_error: Option<String>,
    /// When.
    last_failure_at: Option<DateTime<Utc>>,
    /// When it last carried a message or answered a check, to a few seconds.
    last_success_at: Option<DateTime<Utc>>,
}

impl From<Health> for HealthBody {
    fn from(health: Health) -> Self {
        let Health { state, since, retry_at, failures, last_error, last_failure_at, last_success_at } = health;
        Self { state, since, retry_at, failures, last_error, last_failure_at, last_success_at }
    }
}

impl From<Standing> for RouteBody {
    fn from(Standing { route, health }: Standing) -> Self {
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
            health: health.into(),
            created_at: route.created_at,
            updated_at: route.updated_at,
        }
    }
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = RouteKind)]
enum Kind {
    #[default]
    Relay,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewRoute)]
struct NewBody {
    #[schema(min_length = 1, max_length = 200, pattern = r"\S", example = "Relay 1")]
    name: String,
    #[serde(default, rename = "kind")]
    _kind: Kind,
    /// `smtp://host:port`.
    #[schema(example = "smtp://relay.example.com:587")]
    url: String,
    #[schema(max_length = 1000, example = "mochila")]
    username: Option<String>,
    /// Never told again. A username and a password go together.
    #[schema(value_type = Option<String>, max_length = 1000, format = Password, example = "correct horse battery staple")]
    password: Option<Secret>,
    #[serde(default)]
    tls: Tls,
    #[serde(default = "ten")]
    #[schema(default = 10, minimum = 1, maximum = 10_000, example = 10)]
    max_connections: i32,
    /// Messages a second; absent or null: as many as it takes.
    #[schema(exclusive_minimum = 0.0, example = 100.0)]
    rate_per_second: Option<f64>,
    /// Its share of what goes out; 0: nothing while there is another.
    #[serde(default = "one_share")]
    #[schema(default = 1, minimum = 0, maximum = 1000, example = 1)]
    weight: i32,
}

fn ten() -> i32 {
    10
}

fn one_share() -> i32 {
    1
}

/// Make a route
#[utoipa::path(post, path = "/routes", operation_id = "create_route", tag = "routes", security(("bearer" = ["admin"])),
    responses((status = 201, description = "The route", body = RouteBody), (status = 409, description = "a route with the name \"Relay 1\" exists already")))]
async fn create(State(state): State<AppState>, _: Admin, Json(body): Json<NewBody>) -> ApiResult<(StatusCode, Json<RouteBody>)> {
    let NewBody { name, _kind: Kind::Relay, url, username, password, tls, max_connections, rate_per_second, weight } = body;
    let new = NewRoute { name, url, username, password, tls, max_connections, rate_per_second, weight };
    let mut connection = state.pool.acquire().await?;
    let created = route::create(&mut connection, &state.vault, new).await?;
    Ok((StatusCode::CREATED, Json(standing::of(&mut connection, created).await?.into())))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RoutesQuery {
    page: Option<i64>,
    limit: Option<i64>,
}

/// All routes
#[utoipa::path(get, path = "/routes", operation_id = "list_routes", tag = "routes", security(("bearer" = ["admin"])),
    params(RoutesQuery), responses((status = 200, description = "A page of routes", body = Page<RouteBody>)))]
async fn page(State(state): State<AppState>, _: Admin, Query(query): Query<RoutesQuery>) -> ApiResult<Json<Page<RouteBody>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    Ok(Json(standing::page(&state.pool, request).await?.map(RouteBody::from)))
}

/// One route
#[utoipa::path(get, path = "/routes/{id}", operation_id = "get_route", tag = "routes", security(("bearer" = ["admin"])),
    responses((status = 200, description = "The route", body = RouteBody)))]
async fn one(State(state): State<AppState>, _: Admin, Path(id): Path<Uuid>) -> ApiResult<Tagged<RouteBody>> {
    let standing = standing::find(&mut *state.pool.acquire().await?, id).await?;
    Ok(Tagged(standing.route.updated_at, standing.into()))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RouteChange)]
struct ChangeBody {
    #[schema(min_length = 1, max_length = 200, pattern = r"\S", example = "Relay 1")]
    name: Option<String>,
    #[schema(example = "smtp://relay.example.com:587")]
    url: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, max_length = 1000, example = "mochila")]
    username: Option<Option<String>>,
    /// Must be given again, or be null, when the url names another host.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, max_length = 1000, format = Password, example = "correct horse battery staple")]
    password: Option<Option<Secret>>,
    tls: Option<Tls>,
    #[schema(minimum = 1, maximum = 10_000, example = 10)]
    max_connections: Option<i32>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<f64>, exclusive_minimum = 0.0, example = 100.0)]
    rate_per_second: Option<Option<f64>>,
    #[schema(minimum = 0, maximum = 1000, example = 1)]
    weight: Option<i32>,
    disabled: Option<bool>,
}

/// Tells `null` from a field that is not there.
pub(super) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Change a route
///
/// What is absent stays as it is.
#[utoipa::path(patch, path = "/routes/{id}", operation_id = "update_route", tag = "routes", security(("bearer" = ["admin"])),
    responses((status = 200, description = "The route", body = RouteBody), (status = 409, description = "a route with the name \"Relay 1\" exists already")))]
async fn change(
    State(state): State<AppState>,
    _: Admin,
    Path(id): Path<Uuid>,
    IfMatch(expected): IfMatch,
    Json(body): Json<ChangeBody>,
) -> ApiResult<Tagged<RouteBody>> {
    let ChangeBody { name, url, username, password, tls, max_connections, rate_per_second, weight, disabled } = body;
    let change = Change { name, url, username, password, tls, max_connections, rate_per_second, weight, disabled };
    let mut transaction = database::begin(&state.pool).await?;
    route::expect(&mut transaction, id, &expected).await?;
    let changed = route::change(&mut transaction, &state.vault, id, change).await?;
    let changed = standing::of(&mut transaction, changed).await?;
    transaction.commit().await?;
    Ok(Tagged(changed.route.updated_at, changed.into()))
}

/// Disable a route
///
/// Campaigns and deliveries go on naming it, so it is disabled and not deleted.
#[utoipa::path(delete, path = "/routes/{id}", operation_id = "disable_route", tag = "routes", security(("bearer" = ["admin"])),
    responses((status = 204, description = "It carries no new mail")))]
async fn disable(
    State(state): State<AppState>,
    _: Admin,
    Path(id): Path<Uuid>,
    IfMatch(expected): IfMatch,
) -> ApiResult<StatusCode> {
    let mut transaction = database::begin(&state.pool).await?;
    route::expect(&mut transaction, id, &expected).await?;
    route::disable(&mut transaction, id).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The job that looks.
#[derive(Serialize, ToSchema)]
#[schema(as = RouteCheck)]
struct CheckBody {
    /// Its result says `reachable`, and `error` where it is not.
    job_id: Uuid,
}

/// Check a route
///
/// A worker opens a session with the relay and ends it again.
/// A route that was out of use because its connections failed is used again if this goes well.
#[utoipa::path(
    post,
    path = "/routes/{id}/check",
    tag = "routes",
    operation_id = "check_route",
    params(("id" = Uuid, Path, description = "The route")),
    responses((status = 202, description = "A job looks; poll it", body = CheckBody,
               headers(("Location" = String, description = "`/api/v1/jobs/{id}`")))),
    security(("bearer" = ["admin"])),
)]
async fn check(
    State(state): State<AppState>,
    _: Admin,
    Path(id): Path<Uuid>,
) -> ApiResult<(StatusCode, [(HeaderName, String); 1], Json<CheckBody>)> {
    let mut transaction = database::begin(&state.pool).await?;
    let job_id = payload::check(&mut transaction, id).await?;
    transaction.commit().await?;
    state.ring(Lane::Critical);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, format!("/api/v1/jobs/{job_id}"))], Json(CheckBody { job_id })))
}
