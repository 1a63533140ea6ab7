//! Requests a minute, by client address. The count stands in every answer (draft-ietf-httpapi-ratelimit-headers-07).

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use shared::{
    allowance::{Allowances, Standing},
    clock::Clock,
    settings::{self, Settings},
};

use super::{classes::Class, deadline, proxies::Visitor};
use crate::{error::ApiError, state::AppState};

/// Requests in a minute.
pub const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
/// Of them, those that are left.
pub const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
/// Seconds until the next minute.
pub const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// The limits and the counts.
pub struct Limits {
    settings: settings::Limits,
    allowances: Arc<Allowances>,
}

impl Limits {
    /// # Errors
    /// A sentence that names the setting.
    pub fn new(settings: &Settings, clock: &Clock) -> Result<Self, String> {
        let patience = Duration::from_millis(settings.limits.redis_timeout_ms);
        let allowances =
            Allowances::new(&settings.redis, patience, clock.clone()).map_err(|error| format!("redis.url: {error}"))?;
        Ok(Self { settings: settings.limits.clone(), allowances: Arc::new(allowances) })
    }

    /// Counts a request; nothing where the class has no limit.
    pub async fn take(&self, class: Class, visitor: Visitor) -> Option<Standing> {
        match class.limit(&self.settings) {
            0 => None,
            limit => Some(self.allowances.take(class.name(), visitor.counted_as(), limit).await),
        }
    }
}

/// The middleware: refuses what is too much, and bounds the time of the rest.
pub async fn wrap(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let class = Class::of(request.method(), request.extensions().get::<MatchedPath>().map(MatchedPath::as_str));
    let visitor = request.extensions().get::<Visitor>().copied().unwrap_or_default();
    let standing = state.front.limits.take(class, visitor).await;
    let mut response = match standing {
        Some(standing) if standing.refused => refuse(class, standing),
        _ => deadline::bound(&state.front, request, next).await,
    };
    if let Some(Standing { limit, remaining, reset_seconds, .. }) = standing {
        let headers = response.headers_mut();
        headers.insert(LIMIT, HeaderValue::from(limit));
        headers.insert(REMAINING, HeaderValue::from(remaining));
        headers.insert(RESET, HeaderValue::from(reset_seconds));
    }
    response
}

fn refuse(class: Class, standing: Standing) -> Response {
    metrics::counter!("http_limited_total", "class" => class.name()).increment(1);
    let Standing { limit, reset_seconds, .. } = standing;
    let detail = format!("more than {limit} requests of this kind in a minute; the next minute begins in {reset_seconds} s");
    ApiError::not_now(StatusCode::TOO_MANY_REQUESTS, detail, u64::from(reset_seconds)).into_response()
}
