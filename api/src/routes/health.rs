//! Whether the process lives, and whether it can work. No credentials.

use axum::{Router, extract::State, routing::get};
use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::readiness;

use crate::{
    error::{ApiError, ApiResult},
    extract::Json,
    state::AppState,
};

/// `/health` and `/ready`.
pub fn router() -> Router<AppState> {
    Router::new().route("/health", get(health)).route("/ready", get(ready))
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    timestamp: DateTime<Utc>,
}

async fn health(State(state): State<AppState>) -> Json<Health> {
    Json(Health { status: "ok", timestamp: state.clock.now() })
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    postgres: &'static str,
    redis: String,
    timestamp: DateTime<Utc>,
}

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
