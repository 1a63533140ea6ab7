use axum::{
    body::Body,
    http::{HeaderMap, Method, Request},
};
use mochila_api::AppState;
use shared::testing::Stage;

use crate::app::TestApp;

const OURS: &str = "https://app.example.com";

async fn allowing(origins: &str) -> TestApp {
    TestApp::with(|settings| settings.api.cors_origins = origins.to_owned()).await
}

fn request(method: Method, origin: &str, wants: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri("/api/v1/lists").header("origin", origin);
    if let Some(method) = wants {
        request = request.header("access-control-request-method", method);
        request = request.header("access-control-request-headers", "authorization,idempotency-key");
    }
    request.body(Body::empty()).expect("a request")
}

fn words<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers[name].to_str().expect("text").split(',').map(str::trim).collect()
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_call_and_read_our_headers() {
    let app = allowing("https://admin.example.com, https://App.example.com").await;
    let preflight = app.send(request(Method::OPTIONS, OURS, Some("PATCH"))).await;
    assert_eq!(preflight.status, 200);
    assert_eq!(preflight.headers["access-control-allow-origin"], OURS);
    assert!(words(&preflight.headers, "access-control-allow-methods").contains(&"PATCH"));
    for name in ["authorization", "idempotency-key", "if-match", "x-workspace-id"] {
        assert!(words(&preflight.headers, "access-control-allow-headers").contains(&name), "{name}");
    }
    // An answer that fails is read too: the page must be able to say why.
    let refused = app.send(request(Method::GET, OURS, None)).await;
    assert_eq!((refused.status.as_u16(), &refused.headers["access-control-allow-origin"]), (401, &OURS.parse().expect("a value")));
    for name in ["location", "etag", "retry-after", "x-request-id", "ratelimit-remaining"] {
        assert!(words(&refused.headers, "access-control-expose-headers").contains(&name), "{name}");
    }
    assert!(words(&refused.headers, "vary").contains(&"origin"));
}

#[tokio::test]
async fn a_page_of_another_origin_is_told_nothing() {
    let app = allowing(OURS).await;
    for stranger in ["https://app.example.com.evil.test", "http://app.example.com", "null"] {
        let preflight = app.send(request(Method::OPTIONS, stranger, Some("GET"))).await;
        assert!(!preflight.headers.contains_key("access-control-allow-origin"), "{stranger}");
        let answer = app.send(request(Method::GET, stranger, None)).await;
        assert!(!answer.headers.contains_key("access-control-allow-origin"), "{stranger}");
    }
    let closed = TestApp::new().await;
    let answer = closed.send(request(Method::OPTIONS, OURS, Some("GET"))).await;
    assert_eq!(answer.status, 405);
    assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control")));
}

#[tokio::test]
async fn what_is_no_origin_is_refused_at_the_start() {
    let stage = Stage::new().await;
    for wrong in ["*", "app.example.com", "https://app.example.com/", "https://app.example.com/path", "ftp://app.example.com"] {
        let mut settings = stage.settings.clone();
        settings.api.cors_origins = wrong.to_owned();
        let error = AppState::new(stage.pool.clone(), settings, stage.clock.clone()).err().expect("a refusal");
        assert_eq!(error, format!("settings: api.cors_origins: {wrong:?} is not an origin like https://app.example.com"));
    }
}
