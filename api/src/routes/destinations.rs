//! Destinations: what an operator sees and sets of a recipient domain. For admins.

use axum::{
    Router,
    extract::State,
    routing::{get, post, put},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    deliveries::limits::{self, Overview},
    page::{Page, PageRequest},
};

use crate::{
    caller::Admin,
    error::ApiResult,
    extract::{Json, Path, Query},
    state::AppState,
};

/// `/destinations`.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/destinations", get(page))
        .route("/destinations/{domain}", get(one))
        .route("/destinations/{domain}/limits", put(set))
        .route("/destinations/{domain}/resume", post(resume))
}

#[derive(Serialize)]
struct Replies {
    accepted: i64,
    deferred: i64,
    failed: i64,
}

#[derive(Serialize)]
struct DestinationBody {
    domain: String,
    rate_per_second: Option<f64>,
    max_connections: Option<i32>,
    adaptive_rate: Option<f64>,
    cooldown_until: Option<DateTime<Utc>>,
    suspended_until: Option<DateTime<Utc>>,
    reason: Option<String>,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DestinationsQuery {
    page: Option<i64>,
    limit: Option<i64>,
    #[serde(default)]
    search: String,
}

async fn page(
    State(state): State<AppState>,
    _: Admin,
    Query(query): Query<DestinationsQuery>,
) -> ApiResult<Json<Page<DestinationBody>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    Ok(Json(limits::page(&state.pool, &query.search, request).await?.map(DestinationBody::from)))
}

async fn one(State(state): State<AppState>, _: Admin, Path(domain): Path<String>) -> ApiResult<Json<DestinationBody>> {
    Ok(Json(limits::find(&state.pool, &domain).await?.into()))
}

/// The whole of the limits: what is null or absent is taken away.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsBody {
    rate_per_second: Option<f64>,
    max_connections: Option<i32>,
}

async fn set(
    State(state): State<AppState>,
    _: Admin,
    Path(domain): Path<String>,
    Json(body): Json<LimitsBody>,
) -> ApiResult<Json<DestinationBody>> {
    limits::set(&mut *state.pool.acquire().await?, &domain, body.rate_per_second, body.max_connections).await?;
    Ok(Json(limits::find(&state.pool, &domain).await?.into()))
}

async fn resume(State(state): State<AppState>, _: Admin, Path(domain): Path<String>) -> ApiResult<Json<DestinationBody>> {
    limits::resume(&mut *state.pool.acquire().await?, &domain).await?;
    Ok(Json(limits::find(&state.pool, &domain).await?.into()))
}
