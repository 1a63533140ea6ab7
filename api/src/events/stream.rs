//! One watcher's stream. It begins with how things are, unless the watcher has seen that already (Last-Event-ID), and tells each change that
//! the watcher is quick enough for. It ends with `event: end` when nothing more will happen; without, when the process stops, the credentials
//! are no longer good, or after an hour: then the client comes back and goes on.

use std::{convert::Infallible, pin::Pin, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, request::Parts},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{Stream, stream};
use serde::Serialize;
use tokio::{
    sync::watch,
    time::{Instant, Interval, Sleep},
};
use uuid::Uuid;

use super::{
    board::{Board, Seen},
    seats::Seat,
};
use crate::{
    caller::Caller,
    error::{ApiError, ApiResult},
    state::AppState,
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// nginx would hold events back otherwise.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// What a request says of who watches.
pub struct Watcher {
    caller: Caller,
    parts: Parts,
}

impl FromRequestParts<AppState> for Watcher {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> ApiResult<Self> {
        Ok(Self { caller: Caller::from_request_parts(parts, state).await?, parts: parts.clone() })
    }
}

impl Watcher {
    /// Who.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether the credentials are still good, for the same things.
    async fn may_go_on(&mut self, state: &AppState) -> bool {
        match Caller::from_request_parts(&mut self.parts, state).await {
            Ok(caller) => caller.scope == self.caller.scope,
            Err(ApiError::Business(error)) if error.is_infrastructure() => true,
            Err(error) => error.status().is_server_error(),
        }
    }
}

/// The stream of `id`, as `told`; the watcher may see it. `over`: as far as the caller knows, nothing more will happen to it.
///
/// # Errors
/// 429: the user has too many streams open.
pub fn open<T, B>(
    state: AppState,
    watcher: Watcher,
    board: &Arc<Board<T>>,
    id: Uuid,
    over: bool,
    told: impl Fn(&T, &Caller) -> B + Send + 'static,
) -> ApiResult<Response>
where
    T: Send + Sync + 'static,
    B: Serialize + 'static,
{
    let since = Since::of(&watcher.parts.headers);
    if over && since.ended {
        // What tells EventSource not to come back.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let seats = &state.events.seats;
    let Some(seat) = seats.take(watcher.caller.standing.user_id) else {
        let detail = format!("{} event streams are open already", seats.most());
        return Err(ApiError::not_now(StatusCode::TOO_MANY_REQUESTS, detail, 15));
    };
    let rhythm = state.events.rhythm;
    let begun = Instant::now();
    let line = Line {
        changes: board.watch(id),
        begun,
        last: since.mark,
        over: false,
        recheck: tokio::time::interval_at(begun + rhythm.recheck, rhythm.recheck),
        longest: Box::pin(tokio::time::sleep(rhythm.longest)),
        told,
        watcher,
        state,
        _seat: seat,
    };
    let mut response = Sse::new(events(line)).keep_alive(KeepAlive::new().interval(rhythm.heartbeat)).into_response();
    response.headers_mut().insert(UNBUFFERED.0, HeaderValue::from_static(UNBUFFERED.1));
    Ok(response)
}

struct Line<T, F> {
    changes: watch::Receiver<Option<Seen<T>>>,
    begun: Instant,
    last: Option<u64>,
    over: bool,
    recheck: Interval,
    longest: Pin<Box<Sleep>>,
    told: F,
    watcher: Watcher,
    state: AppState,
    _seat: Seat,
}

fn events<T, B, F>(line: Line<T, F>) -> impl Stream<Item = Result<Event, Infallible>> + Send
where
    T: Send + Sync + 'static,
    B: Serialize,
    F: Fn(&T, &Caller) -> B + Send + 'static,
{
    stream::unfold(line, |mut line| Box::pin(async move { line.next().await.map(|event| (Ok(event), line)) }))
}

impl<T, F> Line<T, F>
where
    T: Send + Sync + 'static,
{
    async fn next<B: Serialize>(&mut self) -> Option<Event>
    where
        F: Fn(&T, &Caller) -> B,
    {
        if self.over {
            return None;
        }
        let stopping = self.state.stopping.clone();
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => return None,
                () = &mut self.longest => return None,
                _ = self.recheck.tick() => if !self.watcher.may_go_on(&self.state).await { return None },
                changed = self.changes.changed() => {
                    changed.ok()?;
                    let seen = self.changes.borrow_and_update().clone();
                    if let Some(event) = seen.and_then(|seen| self.tell(&seen)) {
                        return Some(event);
                    }
                }
            }
        }
    }

    fn tell<B: Serialize>(&mut self, seen: &Seen<T>) -> Option<Event>
    where
        F: Fn(&T, &Caller) -> B,
    {
        // A look that began before the stream may be older than what the client saw elsewhere.
        if seen.looked < self.begun {
            return None;
        }
        let sight = &seen.sight;
        if self.last == Some(sight.mark) && !sight.over {
            return None;
        }
        self.last = Some(sight.mark);
        self.over = sight.over;
        let (name, end) = if sight.over { ("end", "-end") } else { ("change", "") };
        let event = Event::default().event(name).id(format!("{}-{:016x}{end}", seen.at, sight.mark));
        event.json_data((self.told)(&sight.item, &self.watcher.caller)).ok()
    }
}

/// What the client has seen last.
#[derive(Default)]
struct Since {
    mark: Option<u64>,
    ended: bool,
}

impl Since {
    fn of(headers: &HeaderMap) -> Self {
        let Some(id) = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok()) else { return Self::default() };
        let mut steps = id.split('-').skip(1);
        let mark = steps.next().and_then(|mark| u64::from_str_radix(mark, 16).ok());
        Self { mark, ended: steps.next() == Some("end") }
    }
}
