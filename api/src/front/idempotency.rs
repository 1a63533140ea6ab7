//! `Idempotency-Key` on POSTs of logged-in users (draft-ietf-httpapi-idempotency-key-header). The rules are `shared::idempotency`'s.
//!
//! A keyed request runs in a task of its own: a client that is gone before the answer is just the one that will ask again.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use parking_lot::Mutex;
use shared::{
    error::Error,
    idempotency::{
        fingerprint::Fingerprint,
        keyed::{self, Answer, Asked, Begun, LEASE_SECONDS, Run},
        reserved,
    },
};

use crate::{
    caller::{Caller, WORKSPACE_ID},
    error::{ApiError, ApiResult},
    extract::Whole,
    request,
    state::AppState,
};

/// The client's key.
pub const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Whether the answer is one that was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Headers that belong to an answer.
const KEPT: [HeaderName; 3] = [header::CONTENT_TYPE, header::LOCATION, header::ETAG];
/// POSTs of nobody who is logged in.
const OF_STRANGERS: [&str; 2] = ["/auth/", "/inbound/"];
/// Takes a file as its body, as a form does.
const FILE: &str = "/api/v1/suppressions/import";
/// Largest answer that is kept. Those of POSTs are an object or two.
const MOST_ANSWER: usize = 4 * 1024 * 1024;

/// The middleware, for everything under `/api/v1`.
pub async fn wrap(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let path = request.uri().path().trim_start_matches("/api/v1");
    let keyed = request.method() == Method::POST
        && request.headers().contains_key(&KEY)
        && !OF_STRANGERS.iter().any(|strangers| path.starts_with(strangers));
    if !keyed {
        return next.run(request).await;
    }
    Box::pin(once(state, request, next)).await.unwrap_or_else(IntoResponse::into_response)
}

async fn once(state: AppState, request: Request, next: Next) -> ApiResult<Response> {
    let key = keyed::check(request.headers()[&KEY].as_bytes())?;
    let (mut parts, body) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, &state).await?;
    let operation = operation(&parts);
    let asked = |fingerprint| Asked { user_id: caller.standing.user_id, key, operation, fingerprint };
    let boundary = boundary(&parts);
    if boundary.is_some() || parts.extensions.get::<MatchedPath>().is_some_and(|path| path.as_str() == FILE) {
        return upload(state, asked(None), parts, body, boundary.as_deref(), next).await;
    }
    let whole = Request::from_parts(parts.clone(), body);
    let Whole(bytes) = Whole::from_request(whole, &state).await?;
    match keyed::begin(&state.pool, &state.vault, &asked(Some(Fingerprint::of(&bytes))), state.clock.now()).await? {
        Begun::Run(run) => Ok(run_it(state, run, Request::from_parts(parts, Body::from(bytes)), next, None).await),
        Begun::Done(answer, _) => Ok(again(answer)),
        Begun::Busy => Err(busy()),
        Begun::Other => Err(other()),
    }
}

/// An upload is not held: its fingerprint is taken while it runs, and of a second one before it is answered.
async fn upload(
    state: AppState,
    asked: Asked,
    parts: Parts,
    body: Body,
    boundary: Option<&str>,
    next: Next,
) -> ApiResult<Response> {
    let fingerprint = Arc::new(Mutex::new(Some(Fingerprint::new(boundary))));
    let seen = fingerprint.clone();
    let mut passing = body.into_data_stream().inspect(move |piece| {
        if let (Ok(bytes), Some(fingerprint)) = (piece, seen.lock().as_mut()) {
            fingerprint.update(bytes);
        }
    });
    match keyed::begin(&state.pool, &state.vault, &asked, state.clock.now()).await? {
        Begun::Run(run) => {
            Ok(run_it(state, run, Request::from_parts(parts, Body::from_stream(passing)), next, Some(fingerprint)).await)
        }
        Begun::Done(answer, mark) => {
            let mut read = 0;
            while let Some(piece) = passing.next().await {
                let piece = piece.map_err(|_| ApiError::BodyLost("the body could not be read to its end".to_owned()))?;
                read += piece.len() as u64;
                if read > state.settings.api.max_upload_bytes {
                    return Err(other());
                }
            }
            let given = fingerprint.lock().take().map(Fingerprint::finish);
            let same = mark.zip(given).is_some_and(|(mark, given)| mark.is_of(&state.vault, &given));
            if same { Ok(again(answer)) } else { Err(other()) }
        }
        Begun::Busy => Err(busy()),
        Begun::Other => Err(other()),
    }
}

type Reading = Arc<Mutex<Option<Fingerprint>>>;

async fn run_it(state: AppState, run: Run, request: Request, next: Next, reading: Option<Reading>) -> Response {
    let task = request::carried(async move {
        let answered = reserved::under(run.reserved, request::caught(next.run(request)));
        let mut answered = pin!(answered);
        let mut beat = tokio::time::interval(Duration::from_secs(u64::from(LEASE_SECONDS) / 3));
        beat.tick().await;
        let response = loop {
            tokio::select! {
                response = &mut answered => break response,
                _ = beat.tick() => match run.renew(&state.pool).await {
                    Ok(true) => {}
                    Ok(false) => tracing::warn!("a keyed request was taken for dead while it ran"),
                    Err(error) => tracing::warn!(error.full = %error, "a keyed request could not renew its lease"),
                },
            }
        };
        settle(&state, &run, response, reading).await
    });
    match tokio::spawn(task).await {
        Ok(response) => response,
        Err(error) => ApiError::Panicked(error.to_string()).into_response(),
    }
}

/// Keeps an answer of success; whatever else it is, nothing was done.
async fn settle(state: &AppState, run: &Run, response: Response, reading: Option<Reading>) -> Response {
    if !response.status().is_success() {
        if let Err(error) = run.free(&state.pool).await {
            tracing::warn!(error.full = %error, "a key is not free before its lease has run out");
        }
        return response;
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MOST_ANSWER).await else {
        return ApiError::from(Error::internal("an answer to a keyed request is too large to be kept")).into_response();
    };
    let text = |name: &HeaderName| Some((name.to_string(), parts.headers.get(name)?.to_str().ok()?.to_owned()));
    let headers = KEPT.iter().filter_map(text).collect();
    let answer = Answer { status: parts.status.as_u16(), headers, body: body.to_vec() };
    let fingerprint = reading.and_then(|reading| reading.lock().take()).map(Fingerprint::finish);
    match run.finish(&state.pool, &state.vault, &answer, fingerprint).await {
        Ok(true) => {}
        Ok(false) => tracing::warn!("a keyed request was done by two runs"),
        Err(error) => tracing::warn!(error.full = %error, "the answer to a keyed request is not kept"),
    }
    Response::from_parts(parts, Body::from(body))
}

fn again(answer: Answer) -> Response {
    let mut response = (StatusCode::from_u16(answer.status).unwrap_or_default(), answer.body).into_response();
    response.headers_mut().remove(header::CONTENT_TYPE);
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

fn busy() -> ApiError {
    ApiError::not_now(StatusCode::CONFLICT, "a request with this Idempotency-Key is being worked on", 2)
}

fn other() -> ApiError {
    ApiError::refused(
        StatusCode::UNPROCESSABLE_ENTITY,
        "this Idempotency-Key was used for another request within the last 24 hours",
    )
}

/// What must be the same besides the body.
fn operation(parts: &Parts) -> String {
    let text = |name: &HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = text(&header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    format!("{} {} workspace {:?} as {media_type:?}", parts.method, parts.uri, text(&WORKSPACE_ID).to_ascii_lowercase())
}

/// Of a form, as RFC 2046 writes it.
fn boundary(parts: &Parts) -> Option<String> {
    let value = parts.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let (media_type, parameters) = value.split_once(';')?;
    if !media_type.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
    })
}
