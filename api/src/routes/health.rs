//! Whether the process lives, and whether it can work. No credentials.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::readiness;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    error::{ApiError, ApiResult},
    extract::Json,
    state::AppState,
};

/// `/health` and `/ready`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(ready))
}

#[derive(Serialize, ToSchema)]
struct Health {
    #[schema(pattern = "^ok$", example = "ok")]
    status: &'static str,
    timestamp: DateTime<Utc>,
}

/// Whether the process lives
#[utoipa::path(get, path = "/health", operation_id = "get_health", tag = "service",
    responses((status = 200, description = "It lives", body = Health)))]
async fn health(State(state): State<AppState>) -> Json<Health> {
    Json(Health { status: "ok", timestamp: state.clock.now() })
}

#[derive(Serialize, ToSchema)]
struct Ready {
    /// `degraded`: Redis is down. Work is accepted and runs when it is back.
    #[schema(pattern = "^(ok|degraded)$", example = "ok")]
    status: &'static str,
    #[schema(pattern = "^ok$", example = "ok")]
    postgres: &'static str,
    /// `ok`, or `down` and why.
    #[schema(example = "ok")]
    redis: String,
    timestamp: DateTime<Utc>,
}

/// Whether it can work
#[utoipa::path(get, path = "/ready", operation_id = "get_readiness", tag = "service",
    responses((status = 200, description = "It can", body = Ready), (status = 503, description = "PostgreSQL is down")))]
async fn ready(State(state): State<AppState>) -> ApiResult<Json<Ready>> {
    let (postgres, redis) = tokio::join!(readiness::postgres(&state.pool), readiness::redis(&state.settings.redis));
    if let Err(reason) = postgres {
        return Err(ApiError::Unavailable(format!("PostgreSQL is down: {reason}")));
    }
    if state.database.closed().is_some() {
        return Err(ApiError::Unavailable("the schema has not been checked yet".to_owned()));
    }
    // Without Redis work is still accepted; it runs when Redis is back.
    let (status, redis) = match redis {
        Ok(()) => ("ok", "ok".to_owned()),
        Err(reason) => ("degraded", format!("down: {reason}")),
    };
    Ok(Json(Ready { status, postgres: "ok", redis, timestamp: state.clock.now() }))
}
