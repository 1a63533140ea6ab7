use axum::http::{Request, header};
use chrono::TimeDelta;
use insta::assert_json_snapshot;
use serde_json::json;
use shared::accounts::{
    level::Level,
    register::{self, Registration},
    user::Role,
};

use crate::app::{Person, TestApp};

const EMAIL: &str = "ann@example.com";
const PASSWORD: &str = "correct horse battery";

async fn ann(app: &TestApp) {
    let registration = Registration {
        email: EMAIL.to_owned(),
        name: "Ann".to_owned(),
        password: PASSWORD.to_owned(),
        role: Role::Client,
        level: Level::Owner,
        workspace_id: None,
        workspace_name: Some("Ann's".to_owned()),
    };
    register::register(&app.stage.pool, &app.state.sessions.passwords, registration).await.expect("a user");
}

#[tokio::test]
async fn the_right_password_opens_a_session() {
    let app = TestApp::new().await;
    ann(&app).await;
    let session = app.log_in("Ann@Example.com", PASSWORD).await.expect(200);
    assert_json_snapshot!(session, { ".access_token" => "…", ".refresh_token" => "…" }, @r#"
    {
      "access_token": "…",
      "expires_in": 3600,
      "refresh_token": "…",
      "token_type": "Bearer"
    }
    "#);
    let me = app.bearing(session["access_token"].as_str().expect("a token"), "/me").await.expect(200);
    assert_json_snapshot!(me, { ".id" => "…", ".workspace.id" => "…" }, @r#"
    {
      "email": "ann@example.com",
      "email_verified": false,
      "id": "…",
      "level": "owner",
      "name": "Ann",
      "role": "client",
      "workspace": {
        "id": "…",
        "name": "Ann's"
      }
    }
    "#);
}

#[tokio::test]
async fn an_unknown_user_and_a_wrong_password_are_one_answer() {
    let app = TestApp::new().await;
    ann(&app).await;
    let wrong = app.log_in(EMAIL, "wrong horse battery").await;
    let unknown = app.log_in("nobody@example.com", PASSWORD).await;
    assert_eq!(wrong.problem(401), unknown.problem(401));
    assert_eq!(wrong.headers[header::WWW_AUTHENTICATE], "Bearer realm=\"mochila\"");
    assert_json_snapshot!(wrong.problem(401), @r#"
    {
      "detail": "the e-mail or the password is wrong",
      "status": 401,
      "title": "Unauthorized",
      "type": "about:blank"
    }
    "#);
}

#[tokio::test]
async fn a_token_without_a_signature_an_expired_one_and_garbage_are_refused() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    assert_eq!(app.get(&ann, "/me").await.expect(200)["email"], ann.email);

    let payload = ann.token.split('.').nth(1).expect("a payload");
    for header in ["eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0", "eyJhbGciOiJOb25lIn0"] {
        app.bearing(&format!("{header}.{payload}."), "/me").await.problem(401);
    }
    app.bearing("garbage", "/me").await.problem(401);
    let basic = Request::get("/api/v1/me").header(header::AUTHORIZATION, "Basic YW5uOmFubg==");
    app.send(basic.body(String::new().into()).expect("a request")).await.problem(401);

    app.stage.clock.advance(TimeDelta::hours(1));
    assert_json_snapshot!(app.get(&ann, "/me").await.problem(401), @r#"
    {
      "detail": "the access token has expired",
      "status": 401,
      "title": "Unauthorized",
      "type": "about:blank"
    }
    "#);
}

#[tokio::test]
async fn an_admin_makes_workspaces_and_clients_who_can_log_in() {
    let app = TestApp::new().await;
    let admin = app.admin().await;
    let workspace = app.post(&admin, "/workspaces", json!({ "name": "Acme" })).await.expect(201);
    let body = json!({ "email": "bob@example.com", "password": PASSWORD, "workspace_id": workspace["id"] });
    let user = app.post(&admin, "/users", body.clone()).await.expect(201);
    assert_json_snapshot!(user, { ".id" => "…", ".workspace.id" => "…", ".created_at" => "…", ".updated_at" => "…" }, @r#"
    {
      "created_at": "…",
      "disabled_at": null,
      "email": "bob@example.com",
      "email_verified": false,
      "id": "…",
      "level": "owner",
      "name": "",
      "role": "client",
      "updated_at": "…",
      "workspace": {
        "id": "…",
        "name": "Acme"
      }
    }
    "#);
    app.log_in("bob@example.com", PASSWORD).await.expect(200);
    let alone = json!({ "email": "eve@example.com", "password": PASSWORD, "level": "viewer" });
    let problem = app.post(&admin, "/users", alone).await.problem(400);
    assert_eq!(problem["errors"][0]["field"], "level", "a workspace has an owner");
    assert_json_snapshot!(app.post(&admin, "/users", body).await.problem(409), @r#"
    {
      "detail": "a user with the e-mail bob@example.com exists already",
      "status": 409,
      "title": "Conflict",
      "type": "about:blank"
    }
    "#);
    let short = json!({ "email": "eve@example.com", "password": "short" });
    assert_json_snapshot!(app.post(&admin, "/users", short).await.problem(400), @r#"
    {
      "detail": "password: must have 8 to 128 characters, not 5",
      "errors": [
        {
          "field": "password",
          "message": "must have 8 to 128 characters, not 5"
        }
      ],
      "status": 400,
      "title": "Bad Request",
      "type": "about:blank"
    }
    "#);
}

#[tokio::test]
async fn a_client_makes_neither_workspaces_nor_users() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    app.post(&ann, "/workspaces", json!({ "name": "Mine" })).await.problem(403);
    app.post(&ann, "/users", json!({ "email": "eve@example.com", "password": PASSWORD, "role": "admin" })).await.problem(403);
}

async fn me_in(app: &TestApp, person: &Person, workspace: &str) -> crate::app::Answer {
    let request = Request::get("/api/v1/me")
        .header(header::AUTHORIZATION, format!("Bearer {}", person.token))
        .header("x-workspace-id", workspace);
    app.send(request.body(String::new().into()).expect("a request")).await
}

#[tokio::test]
async fn an_admin_chooses_a_workspace_and_a_client_does_not() {
    let app = TestApp::new().await;
    let (admin, ann, bob) = (app.admin().await, app.somebody().await, app.somebody().await);
    let chosen = me_in(&app, &admin, &ann.workspace_id.to_string()).await.expect(200);
    assert_eq!(chosen["workspace"]["id"], ann.workspace_id.to_string());
    me_in(&app, &ann, &ann.workspace_id.to_string()).await.expect(200);
    me_in(&app, &ann, &bob.workspace_id.to_string()).await.problem(403);
    me_in(&app, &admin, "00000000-0000-7000-8000-000000000000").await.problem(404);
    assert_json_snapshot!(me_in(&app, &admin, "acme").await.problem(400), @r#"
    {
      "detail": "X-Workspace-Id: \"acme\" is not a UUID",
      "errors": [
        {
          "field": "X-Workspace-Id",
          "message": "\"acme\" is not a UUID"
        }
      ],
      "status": 400,
      "title": "Bad Request",
      "type": "about:blank"
    }
    "#);
}
