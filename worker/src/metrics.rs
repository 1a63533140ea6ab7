//! `/metrics` and `/health` of a worker, on a listener of its own. Depth and age of lanes are asked at scrape time.

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use shared::{
    PgPool,
    queue::{gauges, lane::Lane, ticket::Tickets},
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
    if let Err(error) = ask(&scrape).await {
        tracing::warn!(error = format!("{error:#}"), "a scrape could not ask for everything");
        metrics::counter!("scrape_errors_total").increment(1);
    }
    (StatusCode::OK, scrape.recorder.render())
}

async fn ask(scrape: &Scrape) -> anyhow::Result<()> {
    let lanes = gauges::lanes(&scrape.pool).await?;
    for lane in Lane::ALL {
        let name = lane.name();
        let found = lanes.iter().find(|gauge| gauge.lane == name);
        let value = |of: fn(&gauges::LaneGauge) -> i64| {
            #[expect(clippy::cast_precision_loss, reason = "counts of jobs")]
            let value = found.map_or(0, of) as f64;
            value
        };
        metrics::gauge!("jobs_ready", "lane" => name).set(value(|g| g.ready));
        metrics::gauge!("jobs_scheduled", "lane" => name).set(value(|g| g.scheduled));
        metrics::gauge!("jobs_running", "lane" => name).set(value(|g| g.running));
        metrics::gauge!("jobs_dead", "lane" => name).set(value(|g| g.dead));
        metrics::gauge!("jobs_ready_oldest_seconds", "lane" => name).set(found.map_or(0.0, |g| g.oldest_ready_seconds));
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of destinations and tickets")]
    {
        metrics::gauge!("destinations_throttled").set(gauges::throttled_destinations(&scrape.pool).await? as f64);
        for lane in Lane::ALL {
            metrics::gauge!("tickets_waiting", "lane" => lane.name()).set(scrape.tickets.waiting(lane).await? as f64);
        }
    }
    Ok(())
}
