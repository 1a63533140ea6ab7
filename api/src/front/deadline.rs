//! How long a request may take, and how long its body may stand still. Uploads may take as long as their bytes keep coming; streams are
//! answers, which are not bounded here.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Request},
    http::{Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::{Instant, Sleep};

use super::Front;
use crate::error::ApiError;

/// Runs the handler, within the deadline unless it takes an upload.
pub async fn bound(front: &Front, request: Request, next: Next) -> Response {
    let upload = request.method() == Method::POST
        && request
            .extensions()
            .get::<MatchedPath>()
            .is_some_and(|path| ["/api/v1/imports", "/api/v1/suppressions/import"].contains(&path.as_str()));
    if request.body().is_end_stream() {
        return match tokio::time::timeout(front.deadline, next.run(request)).await {
            Ok(response) => response,
            Err(_) => late(front.deadline, false),
        };
    }
    let waited_for = Arc::new(AtomicBool::new(false));
    let idle = front.body_idle;
    let timer = Box::pin(tokio::time::sleep(idle));
    let request = request.map(|inner| Body::new(Flowing { inner, idle, timer, waited_for: waited_for.clone() }));
    if upload {
        return next.run(request).await;
    }
    match tokio::time::timeout(front.deadline, next.run(request)).await {
        Ok(response) => response,
        Err(_) => late(front.deadline, waited_for.load(Ordering::Relaxed)),
    }
}

fn late(deadline: Duration, for_body: bool) -> Response {
    let seconds = deadline.as_secs();
    if for_body {
        return ApiError::BodyLost(format!("the body did not arrive within {seconds} s")).into_response();
    }
    let detail = format!("the request took longer than {seconds} s");
    ApiError::not_now(StatusCode::SERVICE_UNAVAILABLE, detail, 5).into_response()
}

/// A body whose next bytes must come in time.
struct Flowing {
    inner: Body,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    /// Whether a handler wants bytes that are not there.
    waited_for: Arc<AtomicBool>,
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
#[error("no bytes for {} s", .0.as_secs())]
struct StoodStill(Duration);

impl HttpBody for Flowing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.waited_for.store(false, Ordering::Relaxed);
            return Poll::Ready(frame);
        }
        if !this.waited_for.swap(true, Ordering::Relaxed) {
            // Only the client's time counts, not that of a handler which writes what came before.
            this.timer.as_mut().reset(Instant::now() + this.idle);
        }
        ready!(this.timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(axum::Error::new(StoodStill(this.idle)))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}
