use axum::{
    body::Body,
    http::{HeaderMap, Method, Request, header},
};
use insta::assert_snapshot;
use mochila_api::front::proxies::Peer;

use crate::app::TestApp;

/// The headers that are for browsers, in the order of their names.
fn told(headers: &HeaderMap) -> String {
    let names = [
        "cache-control",
        "content-security-policy",
        "cross-origin-opener-policy",
        "cross-origin-resource-policy",
        "referrer-policy",
        "strict-transport-security",
        "x-content-type-options",
    ];
    let lines = names.iter().filter_map(|name| Some(format!("{name}: {}", headers.get(*name)?.to_str().ok()?)));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn every_answer_tells_browsers_to_keep_off() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let lists = app.get(&ann, "/lists").await;
    assert_snapshot!(told(&lists.headers), @r"
    cache-control: no-store
    content-security-policy: default-src 'none'; frame-ancestors 'none'
    cross-origin-opener-policy: same-origin
    cross-origin-resource-policy: same-origin
    referrer-policy: no-referrer
    x-content-type-options: nosniff
    ");
    for path in ["/api/v1/nothing", "/api/v1/lists", "/health"] {
        assert_eq!(told(&app.bare(Method::GET, path).await.headers), told(&lists.headers), "{path}");
    }
}

#[tokio::test]
async fn the_page_behind_a_mails_link_keeps_its_own_rules() {
    let app = TestApp::new().await;
    assert_snapshot!(told(&app.bare(Method::GET, "/u/nothing").await.headers), @r"
    cache-control: no-store
    content-security-policy: default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'
    cross-origin-opener-policy: same-origin
    cross-origin-resource-policy: same-origin
    referrer-policy: no-referrer
    x-content-type-options: nosniff
    ");
}

#[tokio::test]
async fn https_is_asked_for_only_where_it_is_spoken() {
    let app = TestApp::with(|settings| settings.api.trusted_proxies = "10.0.0.1".to_owned()).await;
    let ask = async |address: &str, tls: bool, proto: Option<&str>| {
        let mut request = Request::get("/health").body(Body::empty()).expect("a request");
        request.extensions_mut().insert(Peer { address: address.parse().expect("an address"), tls });
        if let Some(proto) = proto {
            request.headers_mut().insert("x-forwarded-proto", proto.parse().expect("a value"));
        }
        app.send(request).await.headers.get(header::STRICT_TRANSPORT_SECURITY).is_some()
    };
    assert!(ask("203.0.113.7:1", true, None).await);
    assert!(ask("10.0.0.1:1", false, Some("https")).await);
    assert!(!ask("10.0.0.1:1", false, Some("https, http")).await);
    assert!(!ask("10.0.0.1:1", false, None).await);
    assert!(!ask("203.0.113.7:1", false, Some("https")).await);
}
