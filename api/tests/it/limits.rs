use axum::{
    body::Body,
    http::{HeaderMap, Method, Request, header},
};
use chrono::TimeDelta;
use mochila_api::{AppState, front::proxies::Peer};
use serde_json::json;
use shared::database;
use uuid::Uuid;

use crate::app::{Answer, Person, TestApp};

/// The limits of the documented defaults, but for the patience with Redis: the machine may be busy.
async fn limited() -> TestApp {
    TestApp::with(|settings| {
        let redis_timeout_ms = settings.limits.redis_timeout_ms;
        settings.limits = shared::settings::Settings::sample().limits;
        settings.limits.redis_timeout_ms = redis_timeout_ms;
    })
    .await
}

/// A request from this address.
fn from(address: &str, person: Option<&Person>, method: Method, path: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(person) = person {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", person.token));
    }
    let mut request = request.body(Body::empty()).expect("a request");
    request.extensions_mut().insert(Peer { address: format!("{address}:4711").parse().expect("an address"), tls: false });
    request
}

fn counts(headers: &HeaderMap) -> [&str; 3] {
    ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"].map(|name| headers[name].to_str().expect("a number"))
}

#[tokio::test]
async fn the_101st_request_of_a_minute_is_refused_by_whichever_process_it_reaches() {
    let one = limited().await;
    let ann = one.somebody().await;
    let two = AppState::new(one.stage.pool.clone(), one.stage.settings.clone(), one.stage.clock.clone()).expect("another process");
    let two = mochila_api::router(two);
    one.stage.clock.advance(TimeDelta::seconds(15));
    let ask = async |n: u32| -> Answer {
        let request = from("203.0.113.7", Some(&ann), Method::GET, "/api/v1/lists");
        if n.is_multiple_of(2) { one.send(request).await } else { TestApp::answer(two.clone(), request).await }
    };
    for n in 1..=100 {
        let answer = ask(n).await;
        assert_eq!(answer.status, 200, "request {n}");
        assert_eq!(counts(&answer.headers), ["100", &(100 - n).to_string(), "45"]);
    }
    for n in 101..=104 {
        let answer = ask(n).await;
        assert_eq!(answer.headers["retry-after"], "45");
        assert_eq!(counts(&answer.headers), ["100", "0", "45"]);
        let problem = answer.problem(429);
        assert_eq!(problem["detail"], "more than 100 requests of this kind in a minute; the next minute begins in 45 s");
        assert_eq!(problem["title"], "Too Many Requests");
    }
    // Another client, another class, and what is not counted, go on.
    assert_eq!(one.send(from("203.0.113.8", Some(&ann), Method::GET, "/api/v1/lists")).await.status, 200);
    assert_eq!(
        one.send(from("203.0.113.7", Some(&ann), Method::GET, &format!("/api/v1/jobs/{}", Uuid::now_v7()))).await.status,
        404
    );
    assert_eq!(one.send(from("203.0.113.7", None, Method::GET, "/health")).await.status, 200);
    one.stage.clock.advance(TimeDelta::seconds(44));
    assert_eq!(ask(1).await.status, 429);
    one.stage.clock.advance(TimeDelta::seconds(1));
    assert_eq!(counts(&ask(2).await.headers), ["100", "99", "60"]);
}

#[tokio::test]
async fn each_class_has_a_limit_of_its_own() {
    let app = limited().await;
    let ann = app.somebody().await;
    let id = Uuid::now_v7();
    for (method, path, limit) in [
        (Method::GET, "/api/v1/lists".to_owned(), 100),
        (Method::GET, "/api/v1/nothing".to_owned(), 100),
        (Method::POST, "/api/v1/auth/login".to_owned(), 5),
        (Method::POST, "/api/v1/auth/refresh".to_owned(), 30),
        (Method::POST, format!("/api/v1/campaigns/{id}/send"), 10),
        (Method::POST, format!("/api/v1/campaigns/{id}/test"), 10),
        (Method::GET, format!("/api/v1/jobs/{id}"), 600),
        (Method::GET, format!("/api/v1/campaigns/{id}/progress"), 600),
        (Method::GET, "/u/token".to_owned(), 300),
        (Method::GET, "/ready".to_owned(), 1200),
    ] {
        let answer = app.send(from("203.0.113.7", Some(&ann), method, &path)).await;
        assert_eq!(answer.headers["ratelimit-limit"], limit.to_string(), "{path}");
    }
    assert!(!app.send(from("203.0.113.7", None, Method::GET, "/health")).await.headers.contains_key("ratelimit-limit"));
    let log_in = async || app.log_in("ann@example.com", "a wrong password").await.status.as_u16();
    for _ in 0..5 {
        assert_eq!(log_in().await, 401);
    }
    assert_eq!(log_in().await, 429);
}

#[tokio::test]
async fn clients_behind_a_trusted_proxy_are_counted_each_and_a_made_up_address_gains_nothing() {
    let app = TestApp::with(|settings| {
        settings.limits.general_per_minute = 1;
        settings.api.trusted_proxies = "10.0.0.0/8".to_owned();
    })
    .await;
    let ann = app.somebody().await;
    let through = async |proxy: &str, forwarded: &str| {
        let mut request = from(proxy, Some(&ann), Method::GET, "/api/v1/lists");
        request.headers_mut().insert("x-forwarded-for", forwarded.parse().expect("a value"));
        app.send(request).await.status.as_u16()
    };
    assert_eq!(through("10.0.0.1", "203.0.113.1").await, 200);
    assert_eq!(through("10.0.0.1", "203.0.113.2").await, 200);
    assert_eq!(through("10.0.0.2", "203.0.113.1").await, 429);
    assert_eq!(through("10.0.0.1", "6.6.6.6, 203.0.113.1").await, 429);
    assert_eq!(through("198.51.100.1", "6.6.6.6").await, 200);
    assert_eq!(through("198.51.100.1", "7.7.7.7").await, 429);
}

#[tokio::test]
async fn ipv6_clients_are_counted_by_network() {
    let app = TestApp::with(|settings| settings.limits.general_per_minute = 1).await;
    let ask = async |address: &str| app.send(from(address, None, Method::GET, "/api/v1/nothing")).await.status.as_u16();
    assert_eq!(ask("[2001:db8:1:2::1]").await, 404);
    assert_eq!(ask("[2001:db8:1:2:ffff::9]").await, 429);
    assert_eq!(ask("[2001:db8:1:3::1]").await, 404);
}

#[tokio::test]
async fn without_redis_the_limit_holds_in_each_process() {
    let app = TestApp::with(|settings| {
        settings.redis.url = "redis://127.0.0.1:1/0".to_owned().into();
        settings.limits.general_per_minute = 2;
        settings.limits.redis_timeout_ms = 100;
    })
    .await;
    let ann = app.somebody().await;
    for expected in [200, 200, 429, 429] {
        assert_eq!(app.get(&ann, "/lists").await.status, expected);
    }
    app.stage.clock.advance(TimeDelta::minutes(1));
    assert_eq!(app.get(&ann, "/lists").await.status, 200);
}

#[tokio::test]
async fn a_handler_that_takes_too_long_is_answered_and_the_request_is_not_left_hanging() {
    let app = TestApp::with(|settings| settings.api.deadline_seconds = 1).await;
    let ann = app.somebody().await;
    let list = app.post(&ann, "/lists", json!({ "name": "Customers" })).await.expect(201)["id"].as_str().expect("an id").to_owned();
    let mut held = database::begin(&app.stage.pool).await.expect("a transaction");
    shared::contacts::list::hold(&mut held, shared::accounts::scope::Scope::client(ann.workspace_id), list.parse().expect("an id"))
        .await
        .expect("held");
    let answer = app.patch(&ann, &format!("/lists/{list}"), json!({ "name": "Readers" })).await;
    assert_eq!(answer.headers["retry-after"], "5");
    assert_eq!(answer.problem(503)["detail"], "the request took longer than 1 s");
    held.rollback().await.expect("let go");
    assert_eq!(app.get(&ann, &format!("/lists/{list}")).await.expect(200)["name"], "Customers");
}

#[tokio::test]
async fn a_body_that_stands_still_is_given_up() {
    let app = TestApp::with(|settings| {
        settings.api.deadline_seconds = 60;
        settings.api.upload_idle_seconds = 1;
    })
    .await;
    let ann = app.somebody().await;
    let half =
        futures::StreamExt::chain(futures::stream::iter([Ok::<_, std::io::Error>("{\"name\":")]), futures::stream::pending());
    let request = Request::post("/api/v1/lists")
        .header(header::AUTHORIZATION, format!("Bearer {}", ann.token))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from_stream(half))
        .expect("a request");
    app.send(request).await.problem(408);
}
