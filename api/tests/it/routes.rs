use insta::assert_json_snapshot;
use serde_json::json;
use shared::routes::health;

use crate::{app::TestApp, shop::text};

#[tokio::test]
async fn a_route_is_made_without_ever_telling_its_password() {
    let app = TestApp::new().await;
    let admin = app.admin().await;
    let body = json!({"name": "relay", "kind": "relay", "url": "smtp://ann:hunter2@mail.test:587", "tls": "required", "max_connections": 5});
    let answer = app.post(&admin, "/routes", body.clone()).await;
    let made = answer.expect(201);
    assert_json_snapshot!(made, {".id" => "", ".created_at" => "", ".updated_at" => ""}, @r#"
    {
      "created_at": "",
      "disabled_at": null,
      "has_password": true,
      "health": {
        "failures": 0,
        "last_error": null,
        "last_failure_at": null,
        "last_success_at": null,
        "retry_at": null,
        "since": null,
        "state": "closed"
      },
      "id": "",
      "kind": "relay",
      "max_connections": 5,
      "name": "relay",
      "rate_per_second": null,
      "tls": "required",
      "updated_at": "",
      "url": "smtp://mail.test:587",
      "username": "ann",
      "weight": 1
    }
    "#);
    let path = format!("/routes/{}", text(&made["id"]));
    let changed = app.patch(&admin, &path, json!({"weight": 3, "rate_per_second": 10})).await;
    assert_eq!(changed.expect(200)["has_password"], true);
    for answer in [answer, changed, app.get(&admin, &path).await, app.get(&admin, "/routes").await] {
        assert!(!String::from_utf8_lossy(&answer.body).contains("hunter2"));
    }
    let taken = app.post(&admin, "/routes", body).await.problem(409);
    assert_eq!(taken["detail"], "a route with the name \"relay\" exists already");
    app.delete(&admin, &path).await.expect(204);
    assert!(app.get(&admin, &path).await.expect(200)["disabled_at"].is_string());
    assert!(app.patch(&admin, &path, json!({"disabled": false})).await.expect(200)["disabled_at"].is_null());
}

#[tokio::test]
async fn a_bad_route_is_refused_and_its_password_is_not_told() {
    let app = TestApp::new().await;
    let admin = app.admin().await;
    let good = json!({"name": "relay", "url": "smtp://mail.test:587"});
    let bad = [
        ("name", json!("")),
        ("kind", json!("direct")),
        ("url", json!("smtps://ann:hunter2@mail.test")),
        ("url", json!("http://ann:hunter2@mail.test")),
        ("url", json!("ann:hunter2@mail.test")),
        ("url", json!("smtp://ann:hunter2@mail.test/path")),
        ("tls", json!("always")),
        ("password", json!("hunter2")),
        ("max_connections", json!(0)),
        ("weight", json!(-1)),
        ("rate_per_second", json!(-1)),
        ("speed", json!(1)),
    ];
    for (field, value) in bad {
        let mut body = good.clone();
        body[field] = value;
        let answer = app.post(&admin, "/routes", body).await;
        assert_eq!(answer.problem(400)["errors"][0]["field"], field);
        assert!(!String::from_utf8_lossy(&answer.body).contains("hunter2"));
    }
    let clear = json!({"name": "relay", "url": "smtp://ann:hunter2@mail.test", "tls": "none"});
    assert_eq!(app.post(&admin, "/routes", clear).await.problem(400)["errors"][0]["field"], "tls");
    assert_eq!(app.get(&admin, "/routes").await.expect(200)["pagination"]["total"], 0);
}

#[tokio::test]
async fn routes_are_for_admins() {
    let app = TestApp::new().await;
    let client = app.somebody().await;
    app.get(&client, "/routes").await.problem(403);
    app.post(&client, "/routes", json!({"name": "relay", "url": "smtp://mail.test"})).await.problem(403);
    app.delete(&client, "/routes/0190f5fe-0000-7000-8000-000000000001").await.problem(403);
    app.post(&client, "/routes/0190f5fe-0000-7000-8000-000000000001/check", json!({})).await.problem(403);
}

#[tokio::test]
async fn a_route_that_does_not_work_says_so_and_since_when() {
    let app = TestApp::new().await;
    let admin = app.admin().await;
    let made = app.post(&admin, "/routes", json!({"name": "relay", "url": "smtp://mail.test:587"})).await.expect(201);
    let (path, id) = (format!("/routes/{}", text(&made["id"])), text(&made["id"]).parse().expect("an id"));
    let breaker = &app.stage.settings.sending.breaker;
    assert!(health::open(&app.stage.pool, id, "greeting: 421 too many connections", breaker).await.expect("opened"));
    assert!(!health::open(&app.stage.pool, id, "another worker", breaker).await.expect("it is open already"));
    let health = &app.get(&admin, &path).await.expect(200)["health"];
    assert_eq!(health, &app.get(&admin, "/routes").await.expect(200)["data"][0]["health"]);
    assert_json_snapshot!(health, {".since" => "", ".retry_at" => "", ".last_failure_at" => ""}, @r#"
    {
      "failures": 1,
      "last_error": "greeting: 421 too many connections",
      "last_failure_at": "",
      "last_success_at": null,
      "retry_at": "",
      "since": "",
      "state": "open"
    }
    "#);
    assert!(health["since"].is_string() && health["retry_at"].is_string());
    health::close(&app.stage.pool, id).await.expect("closed");
    let health = &app.get(&admin, &path).await.expect(200)["health"];
    assert_eq!((&health["state"], &health["retry_at"]), (&json!("closed"), &json!(null)));
    assert!(health["last_success_at"].is_string());
}

#[tokio::test]
async fn a_check_is_a_job_and_two_at_once_are_one() {
    let app = TestApp::new().await;
    let admin = app.admin().await;
    let made = app.post(&admin, "/routes", json!({"name": "relay", "url": "smtp://mail.test:587"})).await.expect(201);
    let path = format!("/routes/{}/check", text(&made["id"]));
    let answer = app.post(&admin, &path, json!({})).await;
    let job = text(&answer.expect(202)["job_id"]).to_owned();
    assert_eq!(answer.headers["location"].to_str().expect("ASCII"), format!("/api/v1/jobs/{job}"));
    assert_eq!(app.post(&admin, &path, json!({})).await.expect(202)["job_id"], job);
    assert_eq!(app.get(&admin, &format!("/jobs/{job}")).await.expect(200)["kind"], "CheckRoute");
    app.post(&admin, "/routes/0190f5fe-0000-7000-8000-000000000001/check", json!({})).await.problem(404);
}
