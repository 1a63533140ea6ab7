//! What every request gets: an id, a span, a line in the log, metrics, and an answer even if its handler panics.

use std::{panic::AssertUnwindSafe, time::Instant};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use metrics::{counter, histogram};
use shared::telemetry::traces;
use tracing::Instrument;
use uuid::Uuid;

use crate::error::ApiError;

/// In and out: the client's id for the request, or ours.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const LONGEST_ID: usize = 128;

tokio::task_local! {
    static ID: String;
}

/// The id of the request that this task answers; empty outside of one.
#[must_use]
pub fn id() -> String {
    ID.try_with(Clone::clone).unwrap_or_default()
}

/// The middleware.
pub async fn wrap(request: Request, next: Next) -> Response {
    let id = given(request.headers()).unwrap_or_else(|| Uuid::now_v7().to_string());
    ID.scope(id.clone(), answer(id, request, next)).await
}

/// What goes on in a task of its own, under the id and the span of the request that began it.
pub fn carried<F: Future>(task: F) -> impl Future<Output = F::Output> {
    ID.scope(id(), task.instrument(tracing::Span::current()))
}

/// An answer even if its handler panics.
pub async fn caught(answer: impl Future<Output = Response>) -> Response {
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => ApiError::Panicked(message(panic.as_ref())).into_response(),
    }
}

async fn answer(id: String, request: Request, next: Next) -> Response {
    let method = label(request.method());
    // The pattern, never the path itself: labels are bounded.
    let path = request.extensions().get::<MatchedPath>().map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let span = tracing::info_span!("http.request", http.method = method, http.route = path, request.id = id);
    if let Some(parent) = request.headers().get("traceparent").and_then(|value| value.to_str().ok()) {
        traces::follow(&span, parent);
    }
    let started = Instant::now();
    async move {
        let mut response = caught(next.run(request)).await;
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        let (status, taken) = (response.status().as_u16(), started.elapsed());
        counter!("http_requests_total", "method" => method, "path" => path.clone(), "status" => status.to_string()).increment(1);
        histogram!("http_request_duration_seconds", "method" => method, "path" => path.clone()).record(taken.as_secs_f64());
        tracing::info!(http.status = status, http.latency_ms = taken.as_secs_f64() * 1000.0, "answered");
        response
    }
    .instrument(span)
    .await
}

/// The client's id, if it is 1 to 128 visible ASCII characters: it goes into the log and back into a header.
fn given(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let fits = (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| id.to_owned())
}

fn label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}
