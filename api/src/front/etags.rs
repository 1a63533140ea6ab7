//! `ETag`, `If-None-Match` and `If-Match` (RFC 9110, 8.8.3 and 13). A tag is the version of the row and a hash of what is told of it: the
//! first is what a change may expect, the whole is what a cache compares, so that a list whose members change is told anew and can still be
//! renamed.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::{
    body::Body,
    extract::{FromRequestParts, Request},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::{error::Error, version::Expected};

use crate::error::ApiError;

/// JSON of a row that was changed last at this time.
pub struct Tagged<T>(pub DateTime<Utc>, pub T);

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let Self(updated_at, told) = self;
        let body = match serde_json::to_vec(&told) {
            Ok(body) => body,
            Err(error) => return ApiError::Business(Error::internal(error)).into_response(),
        };
        let mut hash = DefaultHasher::new();
        body.hash(&mut hash);
        let tag = format!("\"{:x}-{:016x}\"", updated_at.timestamp_micros(), hash.finish());
        ([(header::CONTENT_TYPE, "application/json".to_owned()), (header::ETAG, tag)], body).into_response()
    }
}

/// What a change expects: anything, without an `If-Match`.
pub struct IfMatch(pub Expected);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        if !parts.headers.contains_key(header::IF_MATCH) {
            return Ok(Self(Expected::Any));
        }
        let mut versions = Vec::new();
        for tag in tags(&parts.headers, &header::IF_MATCH) {
            if tag == "*" {
                return Ok(Self(Expected::Any));
            }
            // A weak tag, or one that is not ours, matches nothing.
            let version = tag.strip_prefix('"').and_then(|tag| tag.split_once('-'));
            versions.extend(version.and_then(|(micros, _)| i64::from_str_radix(micros, 16).ok()));
        }
        Ok(Self(Expected::OneOf(versions)))
    }
}

fn tags<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

/// The middleware: what the client has already is not sent again.
pub async fn wrap(request: Request, next: Next) -> Response {
    let asks = matches!(*request.method(), Method::GET | Method::HEAD) && request.headers().contains_key(header::IF_NONE_MATCH);
    if !asks {
        return next.run(request).await;
    }
    let known: Vec<String> = tags(request.headers(), &header::IF_NONE_MATCH).map(weakly).map(str::to_owned).collect();
    let mut response = next.run(request).await;
    let same = response
        .headers()
        .get(header::ETAG)
        .and_then(|tag| tag.to_str().ok())
        .is_some_and(|tag| known.iter().any(|known| known == "*" || known == weakly(tag)));
    if same && response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
        for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
            response.headers_mut().remove(name);
        }
    }
    response
}

/// The comparison of caches does not tell weak from strong.
fn weakly(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}
