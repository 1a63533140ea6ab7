//! Which pages of other origins may call: those of the settings, and no other.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower::util::{Either, option_layer};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::{limits, listed};
use crate::{caller::WORKSPACE_ID, request::REQUEST_ID};

/// How long a browser may remember what it was told.
const REMEMBERED: Duration = Duration::from_secs(600);

/// From `api.cors_origins`: origins with commas.
///
/// # Errors
/// A sentence that names the setting and the value.
pub fn origins(setting: &str) -> Result<Vec<HeaderValue>, String> {
    let origin = |item: &str| {
        let url = item.parse::<axum::http::Uri>().ok()?;
        let plain = matches!(url.scheme_str(), Some("http" | "https")) && url.authority().is_some() && !item.ends_with('/');
        // As browsers spell it, since they compare it letter by letter.
        (plain && url.path_and_query().is_none_or(|path| path == "/")).then(|| HeaderValue::from_str(&item.to_lowercase()).ok())?
    };
    let origins = listed(setting).map(|item| {
        origin(item).ok_or_else(|| format!("settings: api.cors_origins: {item:?} is not an origin like https://app.example.com"))
    });
    origins.collect()
}

/// Nothing at all without origins.
#[must_use]
pub fn layer(origins: &[HeaderValue]) -> Either<CorsLayer, tower::layer::util::Identity> {
    option_layer((!origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins.iter().cloned()))
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
            .allow_headers([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                header::IF_MATCH,
                header::IF_NONE_MATCH,
                HeaderName::from_static("idempotency-key"),
                HeaderName::from_static("last-event-id"),
                REQUEST_ID,
                WORKSPACE_ID,
            ])
            .expose_headers([
                header::LOCATION,
                header::ETAG,
                header::RETRY_AFTER,
                header::CONTENT_DISPOSITION,
                REQUEST_ID,
                limits::LIMIT,
                limits::REMAINING,
                limits::RESET,
                HeaderName::from_static("idempotency-replayed"),
            ])
            .max_age(REMEMBERED)
    }))
}
