//! `/metrics` and `/health` of a worker, on a listener of its own. Depth and age of lanes are asked at scrape time.

use axum::{Router, extract::State, response::IntoResponse, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use shared::{
    PgPool,
    queue::{gauges, ticket::Tickets},
};

#[derive(Clone)]
struct Scrape {
    recorder: PrometheusHandle,
    pool: PgPool,
    tickets: Tickets,
}

/// Serves until the task is ended.
pub async fn serve(listener: tokio::net::TcpListener, recorder: PrometheusHandle, pool: PgPool, tickets: Tickets) {
    let router = Router::new().route("/metrics", get(scrape)).route("/health", get(|| async { "ok\n" })).with_state(Scrape {
        recorder,
        pool,
        tickets,
    });
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "metrics are not served any more");
    }
}

async fn scrape(State(scrape): State<Scrape>) -> impl IntoResponse {
    if let Err(error) = gauges::export(&scrape.pool, &scrape.tickets).await {
        tracing::warn!(%error, "a scrape could not ask for everything");
        metrics::counter!("scrape_errors_total").increment(1);
    }
    scrape.recorder.render()
}
