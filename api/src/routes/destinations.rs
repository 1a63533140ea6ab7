//! Destinations: what an operator sees and sets of a recipient domain. For admins.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    deliveries::limits::{self, Overview},
    page::{Page, PageRequest},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Admin,
    error::ApiResult,
    extract::{Json, Path, Query},
    state::AppState,
};

/// `/destinations`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(page)).routes(routes!(one)).routes(routes!(set)).routes(routes!(resume))
}

#[derive(Serialize, ToSchema)]
struct Replies {
    #[schema(minimum = 0, example = 1200)]
    accepted: i64,
    #[schema(minimum = 0, example = 3)]
    deferred: i64,
    #[schema(minimum = 0)]
    failed: i64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Destination)]
struct DestinationBody {
    #[schema(example = "example.com")]
    domain: String,
    /// Set by an operator.
    rate_per_second: Option<f64>,
    max_connections: Option<i32>,
    /// Messages a second, learned from its replies.
    adaptive_rate: Option<f64>,
    cooldown_until: Option<DateTime<Utc>>,
    suspended_until: Option<DateTime<Utc>>,
    /// Why it is suspended or cools down.
    #[schema(example = "policy")]
    reason: Option<String>,
    #[schema(example = "421 4.7.0 try again later")]
    last_reply: Option<String>,
    slowed_at: Option<DateTime<Utc>>,
    this_hour: Replies,
    last_day: Replies,
    updated_at: DateTime<Utc>,
}

impl From<Overview> for DestinationBody {
    fn from(one: Overview) -> Self {
        Self {
            domain: one.domain,
            rate_per_second: one.rate_per_second,
            max_connections: one.max_connections,
            adaptive_rate: one.adaptive_rate,
            cooldown_until: one.cooldown_until,
            suspended_until: one.suspended_until,
            reason: one.reason,
            last_reply: one.last_reply,
            slowed_at: one.slowed_at,
            this_hour: Replies { accepted: one.accepted_hour, deferred: one.deferred_hour, failed: one.failed_hour },
            last_day: Replies { accepted: one.accepted_day, deferred: one.deferred_day, failed: one.failed_day },
            updated_at: one.updated_at,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DestinationsQuery {
    page: Option<i64>,
    limit: Option<i64>,
    /// Part of the domain.
    #[serde(default)]
    search: String,
}

/// Every destination that was written to
#[utoipa::path(get, path = "/destinations", operation_id = "list_destinations", tag = "destinations", security(("bearer" = ["admin"])),
    params(DestinationsQuery), responses((status = 200, description = "A page of destinations", body = Page<DestinationBody>)))]
async fn page(
    State(state): State<AppState>,
    _: Admin,
    Query(query): Query<DestinationsQuery>,
) -> ApiResult<Json<Page<DestinationBody>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    Ok(Json(limits::page(&state.pool, &query.search, request).await?.map(DestinationBody::from)))
}

/// One destination
#[utoipa::path(get, path = "/destinations/{domain}", operation_id = "get_destination", tag = "destinations", security(("bearer" = ["admin"])),
    params(("domain" = String, Path, description = "The domain of the recipients.", example = "example.com")), responses((status = 200, description = "The destination", body = DestinationBody)))]
async fn one(State(state): State<AppState>, _: Admin, Path(domain): Path<String>) -> ApiResult<Json<DestinationBody>> {
    Ok(Json(limits::find(&state.pool, &domain).await?.into()))
}

/// The whole of the limits: what is null or absent is taken away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DestinationLimits)]
struct LimitsBody {
    /// Messages a second.
    #[schema(exclusive_minimum = 0.0, example = 20.0)]
    rate_per_second: Option<f64>,
    #[schema(minimum = 1, maximum = 10_000, example = 5)]
    max_connections: Option<i32>,
}

/// Set the limits of a destination
///
/// All of them: what is absent or null is taken away.
#[utoipa::path(put, path = "/destinations/{domain}/limits", operation_id = "set_destination_limits", tag = "destinations", security(("bearer" = ["admin"])),
    params(("domain" = String, Path, description = "The domain of the recipients.", example = "example.com")), responses((status = 200, description = "The destination", body = DestinationBody)))]
async fn set(
    State(state): State<AppState>,
    _: Admin,
    Path(domain): Path<String>,
    Json(body): Json<LimitsBody>,
) -> ApiResult<Json<DestinationBody>> {
    limits::set(&mut *state.pool.acquire().await?, &domain, body.rate_per_second, body.max_connections).await?;
    Ok(Json(limits::find(&state.pool, &domain).await?.into()))
}

/// Lift a suspension or a cool-down
#[utoipa::path(post, path = "/destinations/{domain}/resume", operation_id = "resume_destination", tag = "destinations", security(("bearer" = ["admin"])),
    params(("domain" = String, Path, description = "The domain of the recipients.", example = "example.com")), responses((status = 200, description = "The destination", body = DestinationBody)))]
async fn resume(State(state): State<AppState>, _: Admin, Path(domain): Path<String>) -> ApiResult<Json<DestinationBody>> {
    limits::resume(&mut *state.pool.acquire().await?, &domain).await?;
    Ok(Json(limits::find(&state.pool, &domain).await?.into()))
}
