use axum::{
    Router,
    body::Body,
    http::{Method, Request, header},
    middleware,
    routing::get,
};
use http_body_util::BodyExt;
use insta::assert_json_snapshot;
use mochila_api::openapi::{document, levels, operations};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::app::{Answer, Person, TestApp};

async fn post_raw(app: &TestApp, person: &Person, content_type: Option<&str>, body: impl Into<Body>) -> Answer {
    let mut request = Request::post("/api/v1/lists").header(header::AUTHORIZATION, format!("Bearer {}", person.token));
    if let Some(content_type) = content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    app.send(request.body(body.into()).expect("a request")).await
}

#[tokio::test]
async fn a_wrong_type_an_unknown_field_and_a_missing_one_are_named() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    assert_json_snapshot!(app.post(&ann, "/lists", json!({ "name": 5 })).await.problem(400), @r#"
    {
      "detail": "name: invalid type: integer `5`, expected a string",
      "errors": [
        {
          "field": "name",
          "message": "invalid type: integer `5`, expected a string"
        }
      ],
      "status": 400,
      "title": "Bad Request",
      "type": "about:blank"
    }
    "#);
    let errors = async |path: &str, body: Value| app.post(&ann, path, body).await.problem(400)["errors"].clone();
    assert_json_snapshot!(errors("/lists", json!({ "name": "a", "colour": "red" })).await, @r#"
    [
      {
        "field": "colour",
        "message": "is not a known field; expected `name`"
      }
    ]
    "#);
    assert_json_snapshot!(errors("/lists", json!({})).await, @r#"
    [
      {
        "field": "name",
        "message": "is required"
      }
    ]
    "#);
    assert_json_snapshot!(errors("/lists", json!(["name"])).await, @r#"
    [
      {
        "field": "body",
        "message": "must be a JSON object, not an array"
      }
    ]
    "#);
    assert_json_snapshot!(errors("/contacts", json!({ "email": "a@example.com", "list_ids": ["x"] })).await, @r#"
    [
      {
        "field": "list_ids[0]",
        "message": "\"x\" is not a UUID"
      }
    ]
    "#);
    assert_json_snapshot!(errors("/lists", json!({ "name": "a\0b" })).await, @r#"
    [
      {
        "field": "name",
        "message": "holds a NUL character"
      }
    ]
    "#);
}

#[tokio::test]
async fn a_body_that_is_not_json_or_too_large_is_refused() {
    let app = TestApp::with(|settings| settings.api.max_body_bytes = 1000).await;
    let ann = app.somebody().await;
    let json = Some("application/json");
    assert_json_snapshot!(post_raw(&app, &ann, json, "{\"name\": ").await.problem(400)["errors"], @r#"
    [
      {
        "field": "body",
        "message": "is not JSON: EOF while parsing a value at line 1 column 9"
      }
    ]
    "#);
    assert_json_snapshot!(post_raw(&app, &ann, json, "{\"name\": \"a\"} trailing").await.problem(400)["errors"], @r#"
    [
      {
        "field": "body",
        "message": "is not JSON: trailing characters at line 1 column 15"
      }
    ]
    "#);
    assert_json_snapshot!(post_raw(&app, &ann, json, "x".repeat(1001)).await.problem(413), @r#"
    {
      "detail": "the body is larger than 1000 bytes",
      "status": 413,
      "title": "Payload Too Large",
      "type": "about:blank"
    }
    "#);
    assert_json_snapshot!(post_raw(&app, &ann, Some("text/plain"), "{}").await.problem(415), @r#"
    {
      "detail": "the body must be application/json, not \"text/plain\"",
      "status": 415,
      "title": "Unsupported Media Type",
      "type": "about:blank"
    }
    "#);
    assert_json_snapshot!(post_raw(&app, &ann, None, "{}").await.problem(415)["detail"], @r#""the body must be application/json; there is no Content-Type""#);
    post_raw(&app, &ann, Some("application/json; charset=utf-8"), "{\"name\": \"a\"}").await.expect(201);
}

#[tokio::test]
async fn a_form_of_a_mails_page_that_is_too_large_is_a_problem_too() {
    let app = TestApp::with(|settings| settings.api.max_body_bytes = 1000).await;
    let form = Request::post("/reset-password?token=x").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    app.send(form.body(Body::from("x".repeat(1001))).expect("a request")).await.problem(413);
}

#[tokio::test]
async fn a_form_and_a_file_are_taken_as_what_they_are_alone() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let send = async |path: &str, kind: Option<&str>| {
        let mut request = Request::post(path).header(header::AUTHORIZATION, format!("Bearer {}", ann.token));
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        app.send(request.body(Body::from("bob@example.com")).expect("a request")).await
    };
    for (path, right, status) in [
        ("/reset-password?token=x", "application/x-www-form-urlencoded", 404),
        ("/accept-invitation?token=x", "Application/X-WWW-Form-Urlencoded; charset=utf-8", 404),
        ("/api/v1/suppressions/import", "text/csv; charset=utf-8", 200),
    ] {
        for wrong in [None, Some("application/json"), Some("text/plain")] {
            send(path, wrong).await.problem(415);
        }
        assert_eq!(send(path, Some(right)).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn page_limit_and_ids_are_checked() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let errors = async |path: &str| app.get(&ann, path).await.problem(400)["errors"].clone();
    assert_json_snapshot!(errors("/contacts?page=0").await, @r#"
    [
      {
        "field": "page",
        "message": "must be between 1 and 1000000, not 0"
      }
    ]
    "#);
    assert_json_snapshot!(errors("/contacts?limit=100000").await, @r#"
    [
      {
        "field": "limit",
        "message": "must be between 1 and 100, not 100000"
      }
    ]
    "#);
    assert_json_snapshot!(errors("/contacts?page=two").await, @r#"
    [
      {
        "field": "page",
        "message": "must be a whole number, not \"two\""
      }
    ]
    "#);
    assert_json_snapshot!(errors("/contacts?sort=name").await, @r#"
    [
      {
        "field": "sort",
        "message": "is not a known field; expected one of `page`, `limit`, `search`, `state`, `list_id`"
      }
    ]
    "#);
    assert_json_snapshot!(errors("/contacts?state=happy").await, @r#"
    [
      {
        "field": "state",
        "message": "unknown variant `happy`, expected one of `subscribed`, `unsubscribed`, `blocked`"
      }
    ]
    "#);
    assert_json_snapshot!(errors("/contacts?search=a%00b").await, @r#"
    [
      {
        "field": "search",
        "message": "holds a NUL character"
      }
    ]
    "#);
    assert_json_snapshot!(errors("/contacts/not-a-uuid").await, @r#"
    [
      {
        "field": "id",
        "message": "\"not-a-uuid\" is not a UUID"
      }
    ]
    "#);
    assert_json_snapshot!(app.delete(&ann, &format!("/lists/{}/contacts/7", ann.user_id)).await.problem(400)["errors"], @r#"
    [
      {
        "field": "contact_id",
        "message": "\"7\" is not a UUID"
      }
    ]
    "#);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    assert_json_snapshot!(app.call(None, Method::GET, "/nothing", None).await.problem(404), @r#"
    {
      "detail": "there is nothing at /api/v1/nothing",
      "status": 404,
      "title": "Not Found",
      "type": "about:blank"
    }
    "#);
    assert_json_snapshot!(app.put(&ann, "/auth/login", json!({})).await.problem(405), @r#"
    {
      "detail": "/api/v1/auth/login does not take PUT",
      "status": 405,
      "title": "Method Not Allowed",
      "type": "about:blank"
    }
    "#);
    app.bare(Method::GET, "/").await.problem(404);
}

#[tokio::test]
async fn a_good_request_id_is_kept_and_a_bad_one_replaced() {
    let app = TestApp::new().await;
    let long = "x".repeat(129);
    for (given, kept) in [("order-66", true), ("two words", false), (long.as_str(), false)] {
        let request = Request::get("/health").header("x-request-id", given).body(Body::empty()).expect("a request");
        let answer = app.send(request).await;
        assert_eq!(answer.headers["x-request-id"] == given, kept, "{given:?}");
        assert!(!answer.headers["x-request-id"].is_empty());
    }
}

#[tokio::test]
async fn a_panic_is_a_problem_that_tells_nothing() {
    let router = Router::new()
        .route("/", get(async || -> &'static str { panic!("the secret ingredient is missing") }))
        .layer(middleware::from_fn(mochila_api::request::wrap));
    let request = Request::get("/").header("x-request-id", "order-66").body(Body::empty()).expect("a request");
    let response = router.oneshot(request).await.expect("an answer");
    assert_eq!(response.status(), 500);
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    assert_json_snapshot!(serde_json::from_slice::<Value>(&body).expect("JSON"), @r#"
    {
      "detail": "something failed on our side; it is logged under the request id",
      "request_id": "order-66",
      "status": 500,
      "title": "Internal Server Error",
      "type": "about:blank"
    }
    "#);
}

#[tokio::test]
async fn every_operation_with_a_level_needs_a_token() {
    let app = TestApp::new().await;
    let closed = || operations(document()).filter(|(_, _, operation)| !levels(operation).is_empty());
    assert!(closed().count() > 20);
    for (path, method, _) in closed() {
        let path = path
            .split('/')
            .map(|step| if step.starts_with('{') { "01999999-9999-7999-8999-999999999999" } else { step })
            .collect::<Vec<_>>()
            .join("/");
        let answer = app.bare(method.parse().expect("a method"), &path).await;
        assert_eq!(answer.status, 401, "{method} {path}");
        answer.problem(401);
    }
}

#[test]
fn the_open_operations_are_these() {
    let open = operations(document()).filter(|(_, _, operation)| levels(operation).is_empty());
    let open: Vec<String> = open.map(|(path, method, _)| format!("{method} {path}")).collect();
    assert_json_snapshot!(open, @r#"
    [
      "GET /accept-invitation",
      "POST /accept-invitation",
      "POST /api/v1/auth/invitations/accept",
      "POST /api/v1/auth/login",
      "POST /api/v1/auth/password/forgot",
      "POST /api/v1/auth/password/reset",
      "POST /api/v1/auth/refresh",
      "POST /api/v1/auth/register",
      "POST /api/v1/auth/verify-email",
      "GET /api/v1/health",
      "POST /api/v1/inbound/{provider}/{source_id}",
      "GET /api/v1/openapi.json",
      "GET /api/v1/ready",
      "GET /health",
      "GET /ready",
      "GET /reset-password",
      "POST /reset-password",
      "GET /u/{token}",
      "POST /u/{token}",
      "GET /verify-email",
      "POST /verify-email"
    ]
    "#);
}
