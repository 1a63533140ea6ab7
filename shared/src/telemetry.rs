//! Logs and metrics of both binaries.

pub use metrics_exporter_prometheus::PrometheusHandle;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tracing_subscriber::EnvFilter;

use crate::settings::{Log, LogFormat};

/// Upper bounds in seconds for every histogram: from a reply over loopback to a job of ten minutes.
const BUCKETS: [f64; 17] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];

/// Upper bounds for rows in one commit of the ledger.
const ROWS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

/// Sends logs to the standard output, once per process.
///
/// # Errors
/// A sentence: the filter is malformed, or logs go somewhere already.
pub fn init_logs(log: &Log) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(&log.filter).map_err(|error| format!("settings: log.filter {:?} is malformed: {error}", log.filter))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    let started = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
        LogFormat::Text => builder.try_init(),
    };
    started.map_err(|error| format!("logs: {error}"))
}

/// Begins to record metrics, once per process; the handle renders them for Prometheus. Whoever holds it calls `run_upkeep` every few
/// seconds, so that histograms stay small while nobody scrapes.
///
/// # Errors
/// A sentence: metrics are recorded already.
pub fn recorder() -> Result<PrometheusHandle, String> {
    let builder = PrometheusBuilder::new()
        .set_buckets(&BUCKETS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Full("ledger_rows".to_owned()), &ROWS))
        .map_err(|error| format!("metrics: {error}"))?;
    let handle = builder.install_recorder().map_err(|error| format!("metrics: {error}"))?;
    metrics::describe_counter!("http_requests_total", "requests answered, by method, route pattern and status");
    metrics::describe_histogram!(
        "http_request_duration_seconds",
        metrics::Unit::Seconds,
        "from the request's head to the answer's"
    );
    Ok(handle)
}
