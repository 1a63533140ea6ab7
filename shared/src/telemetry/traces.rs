//! Traces: spans to an OTLP collector over HTTP, and the trace context that goes from a request to its job (W3C trace context).
//!
//! Off unless `telemetry.otlp_endpoint` is set. Spans wait in a bounded queue that drops what does not fit, and are sent from a thread of
//! their own: a collector that is slow or dead slows nobody down.

use std::{sync::Arc, time::Duration};

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider},
};
use opentelemetry_otlp::{SpanExporter as Otlp, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanExporter},
};
use tokio::runtime::Handle;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::settings::Telemetry;

/// Spans that wait for the collector.
const QUEUE: usize = 4_096;
const PATIENCE: Duration = Duration::from_secs(3);

/// What makes spans of ours into traces; `None`: they go nowhere.
///
/// # Errors
/// A sentence: the endpoint is malformed.
pub(super) fn provider(settings: &Telemetry, service: &'static str) -> Result<Option<SdkTracerProvider>, String> {
    if settings.otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let endpoint = format!("{}/v1/traces", settings.otlp_endpoint.trim_end_matches('/'));
    let exporter = Otlp::builder()
        .with_http()
        .with_endpoint(&endpoint)
        .with_timeout(PATIENCE)
        .build()
        .map_err(|error| format!("settings: telemetry.otlp_endpoint {:?}: {error}", settings.otlp_endpoint))?;
    let exporter = OnRuntime { exporter: Arc::new(exporter), runtime: Handle::current() };
    let batch = BatchConfigBuilder::default().with_max_queue_size(QUEUE).with_scheduled_delay(Duration::from_secs(1)).build();
    let provider = SdkTracerProvider::builder()
        .with_resource(Resource::builder().with_service_name(service).build())
        // By the trace's id alone: a request and its jobs agree, and a stranger's flag decides nothing.
        .with_sampler(Sampler::TraceIdRatioBased(settings.sample_ratio))
        .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batch).build())
        .build();
    Ok(Some(provider))
}

pub(super) fn tracer(provider: &SdkTracerProvider) -> SdkTracer {
    provider.tracer("mochila")
}

/// Sends what waits, for a few seconds at most.
pub(super) async fn flush(provider: SdkTracerProvider) {
    // Its thread waits for the exporter, which runs here: this thread must not wait.
    let _ = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(PATIENCE)).await;
}

/// The batch's thread has no runtime, and the exporter's client needs one.
#[derive(Debug)]
struct OnRuntime {
    exporter: Arc<Otlp>,
    runtime: Handle,
}

impl SpanExporter for OnRuntime {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let exporter = self.exporter.clone();
        let sent = self.runtime.spawn(async move { exporter.export(batch).await }).await;
        sent.unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())))
    }

    fn set_resource(&mut self, resource: &Resource) {
        if let Some(exporter) = Arc::get_mut(&mut self.exporter) {
            exporter.set_resource(resource);
        }
    }
}

/// The context of the current span as a W3C `traceparent`, where traces are on.
#[must_use]
pub fn traceparent() -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8()))
}

/// Whether the current span is one of those that are sent.
#[must_use]
pub fn is_sampled() -> bool {
    Span::current().context().span().span_context().is_sampled()
}

/// Makes a span, before it is entered, part of the trace that a `traceparent` names; one that is malformed is ignored.
pub fn follow(span: &Span, traceparent: &str) {
    if let Some(parent) = parse(traceparent) {
        // Without traces there is nothing to be part of.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

/// <https://www.w3.org/TR/trace-context/#traceparent-header>, version 00.
fn parse(traceparent: &str) -> Option<SpanContext> {
    let parts: Vec<&str> = traceparent.split('-').collect();
    let [version, trace, span, flags] = parts[..] else { return None };
    let hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if version != "00" || !hex(trace, 32) || !hex(span, 16) || !hex(flags, 2) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let context = SpanContext::new(TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?, flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let good = parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").expect("good");
        assert_eq!((good.trace_id().to_string().as_str(), good.is_sampled()), ("0af7651916cd43dd8448eb211c80319c", true));
        for wrong in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0é",
        ] {
            assert!(parse(wrong).is_none(), "{wrong:?}");
        }
    }
}
