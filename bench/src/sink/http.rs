#![expect(clippy::disallowed_types, reason = "the extractors with problem documents are the api's; this server is for tests")]

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    counts::{Counts, Stats},
    settings::{Change, Settings},
};

type Shared = State<(Arc<Counts>, Arc<Settings>)>;

pub(super) async fn listen(listener: TcpListener, counts: Arc<Counts>, settings: Arc<Settings>) {
    let router = Router::new()
        .route("/health", get(|| async { Json(json!({"status": "ok"})) }))
        .route("/stats", get(stats))
        .route("/domains/{domain}/seconds", get(seconds))
        .route("/domains/{domain}/arrivals", get(arrivals))
        .route("/messages", get(messages))
        .route("/config", get(config).put(change))
        .route("/reset", post(reset))
        .with_state((counts, settings));
    if let Err(error) = axum::serve(listener, router).await {
        eprintln!("the sink's http server ended: {error}");
    }
}

async fn stats(State((counts, _)): Shared) -> Json<Stats> {
    Json(counts.stats())
}

async fn seconds(State((counts, _)): Shared, Path(domain): Path<String>) -> Result<Json<Value>, StatusCode> {
    let seconds = counts.seconds(&domain.to_ascii_lowercase()).ok_or(StatusCode::NOT_FOUND)?;
    let seconds: Vec<_> = seconds.iter().map(|(at, received)| json!({"at": at, "received": received})).collect();
    Ok(Json(json!({"domain": domain, "seconds": seconds})))
}

async fn arrivals(State((counts, _)): Shared, Path(domain): Path<String>) -> Result<Json<BTreeMap<String, f64>>, StatusCode> {
    counts.arrivals(&domain.to_ascii_lowercase()).map(Json).ok_or(StatusCode::NOT_FOUND)
}

#[derive(Deserialize)]
struct Limit {
    #[serde(default = "five")]
    limit: usize,
}

fn five() -> usize {
    5
}

async fn messages(State((counts, _)): Shared, Query(limit): Query<Limit>) -> Json<Value> {
    Json(json!({"data": counts.messages(limit.limit)}))
}

async fn config(State((_, settings)): Shared) -> Json<Value> {
    Json(json!(*settings))
}

async fn change(State((_, settings)): Shared, Json(change): Json<Change>) -> Json<Value> {
    settings.change(&change);
    Json(json!(*settings))
}

async fn reset(State((counts, _)): Shared) -> StatusCode {
    counts.reset();
    StatusCode::NO_CONTENT
}
