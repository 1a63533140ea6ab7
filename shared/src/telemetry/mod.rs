//! Logs and metrics of both binaries, and where they are wanted traces ([`traces`]) and errors (`faults`).

pub use metrics_exporter_prometheus::PrometheusHandle;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use opentelemetry_sdk::trace::SdkTracerProvider;
use sentry::integrations::tracing::ErrorLayer;
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{LevelFilter, filter_fn},
    layer::SubscriberExt,
    registry::LookupSpan,
};

use crate::settings::{Log, LogFormat, Settings};

mod faults;
pub mod traces;

/// Upper bounds in seconds for every histogram: from a reply over loopback to a job of ten minutes.
const BUCKETS: [f64; 17] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];

/// Upper bounds for rows in one commit of the ledger.
const ROWS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

/// What outlives its last span and event: [`Telemetry::flush`] sends what waits.
#[must_use]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    faults: Option<sentry::ClientInitGuard>,
}

impl Telemetry {
    /// Sends what waits, for a few seconds at most. At the end of the process.
    pub async fn flush(self) {
        if let Some(traces) = self.traces {
            traces::flush(traces).await;
        }
        if let Some(faults) = self.faults {
            faults::flush(faults).await;
        }
    }
}

/// Where logs, spans and errors of a process go.
pub type Sink = Box<dyn tracing::Subscriber + Send + Sync>;

/// Sends logs to the standard output, spans and errors where the settings say, once per process.
///
/// # Errors
/// A sentence: a setting is malformed, or logs go somewhere already.
pub fn init(settings: &Settings, service: &'static str) -> Result<Telemetry, String> {
    let (sink, telemetry) = sink(settings, service)?;
    tracing::subscriber::set_global_default(sink).map_err(|error| format!("logs: {error}"))?;
    Ok(telemetry)
}

/// The same, for whoever installs it.
///
/// # Errors
/// A sentence: a setting is malformed.
pub fn sink(settings: &Settings, service: &'static str) -> Result<(Sink, Telemetry), String> {
    let telemetry = Telemetry {
        traces: traces::provider(&settings.telemetry, service)?,
        faults: faults::client(&settings.telemetry, service)?,
    };
    // Only spans of ours, and only what a person would look for: the libraries' are thousands.
    let ours = |meta: &Metadata<'_>| {
        meta.is_span()
            && *meta.level() <= Level::INFO
            && ["mochila", "shared"].iter().any(|crate_| meta.target().starts_with(crate_))
    };
    let spans = telemetry
        .traces
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(traces::tracer(provider)).with_filter(filter_fn(ours)));
    let errors = telemetry.faults.is_some().then(|| ErrorLayer::new().with_filter(LevelFilter::ERROR));
    let sink = tracing_subscriber::registry().with(spans).with(errors).with(logs(&settings.log)?);
    Ok((Box::new(sink), telemetry))
}

/// Sends logs to the standard output, once per process, and nothing anywhere else: for commands.
///
/// # Errors
/// A sentence: the filter is malformed, or logs go somewhere already.
pub fn init_logs(log: &Log) -> Result<(), String> {
    let sink = tracing_subscriber::registry().with(logs(log)?);
    tracing::subscriber::set_global_default(sink).map_err(|error| format!("logs: {error}"))
}

fn logs<S>(log: &Log) -> Result<Box<dyn Layer<S> + Send + Sync>, String>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let filter =
        EnvFilter::try_new(&log.filter).map_err(|error| format!("settings: log.filter {:?} is malformed: {error}", log.filter))?;
    let layer = tracing_subscriber::fmt::layer();
    Ok(match log.format {
        LogFormat::Json => {
            layer.json().flatten_event(true).with_current_span(true).with_span_list(false).with_filter(filter).boxed()
        }
        LogFormat::Text => layer.with_filter(filter).boxed(),
    })
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
