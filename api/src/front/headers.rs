//! What every answer says to browsers (OWASP's HTTP headers cheat sheet). An answer that says it itself is left alone.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};

use super::proxies::Peer;
use crate::state::AppState;

const ALWAYS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// No answer of ours is ever part of a page, but for those that say so.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";
/// The documentation loads its scripts, styles and the document from here alone; its styles are partly inline.
const DOCUMENTATION: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                             font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// A year, as preload lists ask for; without subdomains, which are not ours to decide.
const TLS_ONLY: &str = "max-age=31536000";

/// The middleware, and the place where it is found out who asks.
pub async fn wrap(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let visitor = state.front.proxies.visitor(request.extensions().get::<Peer>().copied(), request.headers());
    request.extensions_mut().insert(visitor);
    let documentation = request.uri().path().starts_with("/docs");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        say(headers, name, value);
    }
    say(headers, header::CONTENT_SECURITY_POLICY, if documentation { DOCUMENTATION } else { NOTHING });
    if !documentation {
        say(headers, header::CACHE_CONTROL, "no-store");
    }
    if visitor.https {
        say(headers, header::STRICT_TRANSPORT_SECURITY, TLS_ONLY);
    }
    response
}

fn say(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.entry(name).or_insert(HeaderValue::from_static(value));
}
