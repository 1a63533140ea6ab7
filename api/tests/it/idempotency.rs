use axum::{
    body::Body,
    http::{Method, Request, header},
};
use chrono::TimeDelta;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use shared::{
    accounts::scope::Scope,
    contacts::list,
    database,
    idempotency::keyed::{self, Asked, Begun},
};

use crate::{
    app::{Answer, Person, TestApp},
    shop::{Shop, text},
};

fn keyed(person: &Person, key: &str, path: &str, body: &Value) -> Request<Body> {
    Request::post(format!("/api/v1{path}"))
        .header(header::AUTHORIZATION, format!("Bearer {}", person.token))
        .header(header::CONTENT_TYPE, "application/json")
        .header("idempotency-key", key)
        .body(Body::from(body.to_string()))
        .expect("a request")
}

fn replayed(answer: &Answer) -> bool {
    answer.headers.contains_key("idempotency-replayed")
}

async fn total(app: &TestApp, person: &Person, path: &str) -> Value {
    app.get(person, path).await.expect(200)["pagination"]["total"].clone()
}

#[tokio::test]
async fn the_same_request_twice_is_done_once_and_answered_alike() {
    let shop = Shop::new().await;
    let (app, ann) = (&shop.app, &shop.owner);
    let first = app.send(keyed(ann, "order-66", "/campaigns", &shop.draft())).await;
    let again = app.send(keyed(ann, "order-66", "/campaigns", &shop.draft())).await;
    assert!(!replayed(&first) && replayed(&again));
    assert_eq!(first.expect(201), again.expect(201));
    assert_eq!(total(app, ann, "/campaigns").await, 1);

    let send = format!("/campaigns/{}/send", text(&first.json()["id"]));
    let first = app.send(keyed(ann, "send-1", &send, &json!({}))).await;
    let again = app.send(keyed(ann, "send-1", &send, &json!({}))).await;
    assert_eq!(first.expect(202), again.expect(202));
    assert_eq!(first.headers["location"], again.headers["location"]);
    assert_eq!(shop.jobs("LaunchCampaign").await, 1);
    app.send(keyed(ann, "send-2", &send, &json!({}))).await.problem(409);
}

#[tokio::test]
async fn a_key_belongs_to_one_request_of_one_user_for_a_day() {
    let app = TestApp::new().await;
    let (ann, bob) = (app.somebody().await, app.somebody().await);
    let list = json!({ "name": "Customers" });
    let made = app.send(keyed(&ann, "k", "/lists", &list)).await.expect(201);
    assert_json_snapshot!(app.send(keyed(&ann, "k", "/lists", &json!({ "name": "Readers" }))).await.problem(422), @r#"
    {
      "detail": "this Idempotency-Key was used for another request within the last 24 hours",
      "status": 422,
      "title": "Unprocessable Entity",
      "type": "about:blank"
    }
    "#);
    app.send(keyed(&ann, "k", "/contacts", &list)).await.problem(422);
    assert_ne!(app.send(keyed(&bob, "k", "/lists", &list)).await.expect(201)["id"], made["id"]);

    app.stage.clock.advance(TimeDelta::hours(24) - TimeDelta::seconds(1));
    let ann = Person { token: app.state.sessions.tokens.issue(ann.user_id, ann.session_id).expect("a token"), ..ann };
    assert!(replayed(&app.send(keyed(&ann, "k", "/lists", &list)).await));
    app.stage.clock.advance(TimeDelta::seconds(1));
    assert_eq!(keyed::prune(&app.stage.pool, app.stage.clock.now()).await.expect("pruned"), 2);
    app.send(keyed(&ann, "k", "/lists", &list)).await.problem(409);
    app.send(keyed(&ann, "k", "/lists", &json!({ "name": "Readers" }))).await.expect(201);
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    app.send(keyed(&ann, "k", "/lists", &json!({ "name": "" }))).await.problem(400);
    app.send(keyed(&ann, "k", "/lists", &json!({ "name": "Customers" }))).await.expect(201);
    let nobody = Person { token: "none".to_owned(), ..ann.clone() };
    app.send(keyed(&nobody, "k", "/lists", &json!({ "name": "Customers" }))).await.problem(401);
    for wrong in ["", "two words", &"x".repeat(256)] {
        let problem = app.send(keyed(&ann, wrong, "/lists", &json!({ "name": "Customers" }))).await.problem(400);
        assert_eq!(problem["errors"][0]["field"], "Idempotency-Key", "{wrong:?}");
    }
    app.send(keyed(&ann, &"x".repeat(255), "/lists", &json!({ "name": "Readers" }))).await.expect(201);
}

#[tokio::test]
async fn of_two_at_once_exactly_one_runs_and_it_finishes_though_its_client_is_gone() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let list = text(&app.post(&ann, "/lists", json!({ "name": "Customers" })).await.expect(201)["id"]);
    let contact = text(&app.post(&ann, "/contacts", json!({ "email": "ada@example.com" })).await.expect(201)["id"]);
    let (path, body) = (format!("/lists/{list}/contacts"), json!({ "contact_ids": [contact] }));
    // Whoever runs waits for the list, which the test holds.
    let mut held = database::begin(&app.stage.pool).await.expect("a transaction");
    list::hold(&mut held, Scope::client(ann.workspace_id), list.parse().expect("an id")).await.expect("held");

    // The one that waits is dropped with its client as soon as the other one is refused.
    let refused = tokio::select! {
        answer = app.send(keyed(&ann, "k", &path, &body)) => answer,
        answer = app.send(keyed(&ann, "k", &path, &body)) => answer,
    };
    assert_eq!(refused.headers["retry-after"], "2");
    assert_eq!(refused.problem(409)["detail"], "a request with this Idempotency-Key is being worked on");

    held.rollback().await.expect("let go");
    let answer = loop {
        let answer = app.send(keyed(&ann, "k", &path, &body)).await;
        if answer.status != 409 {
            break answer;
        }
        tokio::task::yield_now().await;
    };
    assert!(replayed(&answer));
    assert_eq!(answer.expect(200)["added"], 1);
}

#[tokio::test]
async fn a_key_whose_owner_died_is_free_for_the_same_request_and_nothing_is_made_twice() {
    let shop = Shop::new().await;
    let (app, ann) = (&shop.app, &shop.owner);
    let made = app.send(keyed(ann, "k", "/campaigns", &shop.draft())).await.expect(201);
    // As if the process had died after the commit, before the answer was kept.
    app.stage
        .execute("UPDATE idempotency_keys SET status = NULL, headers = NULL, answer_sealed = NULL, lease_until = now() + interval '30 s'")
        .await;
    app.send(keyed(ann, "k", "/campaigns", &shop.draft())).await.problem(409);
    app.stage.execute("UPDATE idempotency_keys SET lease_until = now() - interval '1 s'").await;
    let other = json!({ "name": "Another" });
    app.send(keyed(ann, "k", "/lists", &other)).await.problem(422);
    let again = app.send(keyed(ann, "k", "/campaigns", &shop.draft())).await;
    assert!(!replayed(&again));
    assert_eq!(again.expect(201)["id"], made["id"]);
    assert_eq!(total(app, ann, "/campaigns").await, 1);
}

#[tokio::test]
async fn a_run_that_was_taken_for_dead_keeps_nothing() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let asked =
        Asked { user_id: ann.user_id, key: "k".to_owned(), operation: "POST /lists".to_owned(), fingerprint: Some(vec![1]) };
    let (pool, vault, now) = (&app.stage.pool, &*app.state.vault, app.stage.clock.now());
    let begin = async || keyed::begin(pool, vault, &asked, now).await.expect("begun");
    let Begun::Run(first) = begin().await else { panic!("it is free") };
    assert!(matches!(begin().await, Begun::Busy));
    assert!(first.renew(pool).await.expect("renewed"));
    app.stage.execute("UPDATE idempotency_keys SET lease_until = now() - interval '1 s'").await;
    let Begun::Run(second) = begin().await else { panic!("it is free again") };
    assert_eq!(first.reserved, second.reserved);
    let answer = keyed::Answer { status: 201, headers: vec![], body: b"{}".to_vec() };
    assert!(!first.renew(pool).await.expect("asked"));
    assert!(!first.finish(pool, vault, &answer, None).await.expect("asked"));
    first.free(pool).await.expect("asked");
    assert!(second.finish(pool, vault, &answer, None).await.expect("kept"));
    assert!(matches!(begin().await, Begun::Done(kept, None) if kept == answer));
}

fn form(person: &Person, key: &str, boundary: &str, list: &str, file: &str) -> Request<Body> {
    let mut body = String::new();
    for (name, content) in [("target\"", "contacts"), ("list_id\"", list), ("file\"; filename=\"a.csv\"", file)] {
        body.push_str(&format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\r\n\r\n{content}\r\n"));
    }
    body.push_str(&format!("--{boundary}--\r\n"));
    Request::post("/api/v1/imports")
        .header(header::AUTHORIZATION, format!("Bearer {}", person.token))
        .header(header::CONTENT_TYPE, format!("multipart/form-data; boundary={boundary}"))
        .header("idempotency-key", key)
        .body(Body::from(body))
        .expect("a request")
}

#[tokio::test]
async fn an_upload_is_taken_once_whatever_its_boundary() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let list = text(&app.post(&ann, "/lists", json!({ "name": "Customers" })).await.expect(201)["id"]);
    let file = "email\nada@example.com\n";
    let first = app.send(form(&ann, "k", "edge", &list, file)).await;
    let again = app.send(form(&ann, "k", "another-edge", &list, file)).await;
    assert!(replayed(&again));
    assert_eq!(first.expect(202), again.expect(202));
    assert_eq!(first.headers["location"], again.headers["location"]);
    app.send(form(&ann, "k", "edge", &list, "email\nbob@example.com\n")).await.problem(422);
    assert_eq!(total(&app, &ann, "/imports").await, 1);
    app.send(form(&ann, "k2", "edge", &list, "")).await.problem(400);
    app.send(form(&ann, "k2", "edge", &list, "email\nbob@example.com\n")).await.expect(202);
}

#[tokio::test]
async fn a_file_that_is_larger_than_a_body_may_be_is_taken_once() {
    let app = TestApp::with(|settings| settings.api.max_body_bytes = 1000).await;
    let ann = app.somebody().await;
    let file = |last: &str| {
        let lines: String = (0..100).map(|n| format!("reader-{n}@example.com\n")).collect();
        Request::post("/api/v1/suppressions/import")
            .header(header::AUTHORIZATION, format!("Bearer {}", ann.token))
            .header(header::CONTENT_TYPE, "text/csv")
            .header("idempotency-key", "k")
            .body(Body::from(lines + last))
            .expect("a request")
    };
    let first = app.send(file("ada@example.com\n")).await;
    let again = app.send(file("ada@example.com\n")).await;
    assert_eq!((replayed(&first), replayed(&again)), (false, true));
    assert_eq!(first.expect(200)["added"], 101);
    assert_eq!(first.json(), again.expect(200));
    app.send(file("bob@example.com\n")).await.problem(422);
}

#[tokio::test]
async fn a_secret_that_is_told_once_is_told_again_to_the_same_request_alone() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let source = json!({ "kind": "generic", "name": "Own relay" });
    let made = app.send(keyed(&ann, "k", "/feedback-sources", &source)).await.expect(201);
    assert!(made["secret"].is_string());
    assert_eq!(app.send(keyed(&ann, "k", "/feedback-sources", &source)).await.expect(201), made);
    // Sealed for this row: what stands in another one is not opened, and nothing is done twice.
    app.stage.execute("UPDATE idempotency_keys SET reserved = gen_random_uuid()").await;
    let problem = app.send(keyed(&ann, "k", "/feedback-sources", &source)).await.problem(409);
    let detail = text(&problem["detail"]);
    assert!(detail.starts_with("the request with this Idempotency-Key was done, but its answer cannot be given again"), "{detail}");
}

#[tokio::test]
async fn a_key_on_what_is_not_a_post_of_a_user_says_nothing() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    for _ in 0..2 {
        let mut request = keyed(&ann, "k", "/lists", &json!({}));
        *request.method_mut() = Method::GET;
        let answer = app.send(request).await;
        assert_eq!((answer.status.as_u16(), replayed(&answer)), (200, false));
        app.send(keyed(&ann, "k", "/auth/login", &json!({ "email": "ann@example.com", "password": "wrong pass" })))
            .await
            .problem(401);
    }
}
