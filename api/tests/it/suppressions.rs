use axum::{
    body::Body,
    http::{Request, header},
};
use insta::assert_json_snapshot;
use serde_json::json;

use crate::app::TestApp;

#[tokio::test]
async fn an_address_or_a_domain_is_suppressed_and_lifted() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let made = app.post(&ann, "/suppressions", json!({ "kind": "address", "value": "Bob@Example.com" })).await.expect(201);
    assert_json_snapshot!(made, { ".id" => "…", ".workspace_id" => "…", ".created_at" => "…" }, @r#"
    {
      "created_at": "…",
      "expires_at": null,
      "id": "…",
      "kind": "address",
      "reason": "manual",
      "value": "bob@example.com",
      "workspace_id": "…"
    }
    "#);
    let domain = json!({ "kind": "domain", "value": "Example.org", "reason": "complaint" });
    assert_eq!(app.post(&ann, "/suppressions", domain.clone()).await.expect(201)["value"], "example.org");
    assert_json_snapshot!(app.post(&ann, "/suppressions", domain).await.problem(409), @r#"
    {
      "detail": "the domain example.org is suppressed already",
      "status": 409,
      "title": "Conflict",
      "type": "about:blank"
    }
    "#);
    let listed = app.get(&ann, "/suppressions?kind=address&search=BOB").await.expect(200);
    assert_eq!(listed["data"], json!([made]));
    assert_eq!(app.delete(&ann, &format!("/suppressions/{}", made["id"].as_str().expect("an id"))).await.status, 204);
    assert_eq!(app.get(&ann, "/suppressions").await.expect(200)["pagination"]["total"], 1);
}

#[tokio::test]
async fn a_suppression_must_be_an_address_or_a_domain_of_ones_own() {
    let app = TestApp::new().await;
    let (ann, bob) = (app.somebody().await, app.somebody().await);
    assert_json_snapshot!(app.post(&ann, "/suppressions", json!({ "kind": "domain", "value": "a@example.com" })).await.problem(400), @r#"
    {
      "detail": "value: \"a@example.com\" is an address, not a domain",
      "errors": [
        {
          "field": "value",
          "message": "\"a@example.com\" is an address, not a domain"
        }
      ],
      "status": 400,
      "title": "Bad Request",
      "type": "about:blank"
    }
    "#);
    assert_json_snapshot!(app.post(&ann, "/suppressions", json!({ "kind": "phone", "value": "1" })).await.problem(400), @r#"
    {
      "detail": "kind: unknown variant `phone`, expected `address` or `domain`",
      "errors": [
        {
          "field": "kind",
          "message": "unknown variant `phone`, expected `address` or `domain`"
        }
      ],
      "status": 400,
      "title": "Bad Request",
      "type": "about:blank"
    }
    "#);
    app.post(&ann, "/suppressions", json!({ "kind": "address", "value": "a@b..c" })).await.problem(400);
    let made = app.post(&ann, "/suppressions", json!({ "kind": "domain", "value": "example.org" })).await.expect(201);
    let path = format!("/suppressions/{}", made["id"].as_str().expect("an id"));
    app.delete(&bob, &path).await.problem(403);
    assert_eq!(app.delete(&ann, &path).await.status, 204);
    app.delete(&ann, &path).await.problem(404);
}

#[tokio::test]
async fn a_workspace_has_the_default_policy_until_its_owner_sets_another() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let default = app.get(&ann, "/suppression-policy").await.expect(200);
    assert_json_snapshot!(default, @r#"
    {
      "complaint_least_accepted": 1000,
      "complaint_pause_percent": 0.3,
      "complaint_warn_percent": 0.1,
      "soft_bounces": 5,
      "soft_days": 30
    }
    "#);
    let with = |field: &str, value: serde_json::Value| {
        let mut policy = default.clone();
        policy[field] = value;
        policy
    };
    let set = app.put(&ann, "/suppression-policy", with("soft_bounces", json!(3))).await.expect(200);
    assert_eq!(set["soft_bounces"], 3);
    assert_eq!(app.get(&ann, "/suppression-policy").await.expect(200), set);
    for (field, value) in [("soft_bounces", json!(0)), ("soft_days", json!(4000)), ("complaint_warn_percent", json!(0.5))] {
        let refused = app.put(&ann, "/suppression-policy", with(field, value)).await.problem(400);
        assert_eq!(refused["errors"][0]["field"], field);
    }
    let viewer = app.member(ann.workspace_id, shared::accounts::level::Level::Viewer).await;
    app.get(&viewer, "/suppression-policy").await.expect(200);
    app.put(&viewer, "/suppression-policy", set).await.problem(403);
}

#[tokio::test]
async fn a_suppression_that_has_expired_is_not_listed_and_can_be_entered_anew() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    app.post(&ann, "/suppressions", json!({ "kind": "address", "value": "bob@example.com" })).await.expect(201);
    app.stage.execute("UPDATE suppressions SET expires_at = now() - interval '1 second'").await;
    assert_eq!(app.get(&ann, "/suppressions").await.expect(200)["pagination"]["total"], 0);
    let made = app.post(&ann, "/suppressions", json!({ "kind": "address", "value": "bob@example.com" })).await.expect(201);
    assert_eq!(made["expires_at"], json!(null));
}

#[tokio::test]
async fn a_file_of_suppressions_goes_in_and_out_with_reasons_and_expiry() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let import = async |file: String| {
        let request = Request::post("/api/v1/suppressions/import")
            .header(header::AUTHORIZATION, format!("Bearer {}", ann.token))
            .header(header::CONTENT_TYPE, "text/csv");
        app.send(request.body(Body::from(file)).expect("a request")).await
    };
    let plain =
        import("Bob@Example.com\nexample.org\n\nbob@example.com\r\na@b..c\n\"quoted@example.com\"".to_owned()).await.expect(200);
    assert_eq!((&plain["added"], &plain["known"], &plain["malformed"]), (&json!(3), &json!(1), &json!(1)));
    assert_eq!((&plain["errors"][0]["line"], plain["errors"].as_array().map(Vec::len)), (&json!(5), Some(1)));
    let until = "2099-01-01T00:00:00Z";
    let named = format!(
        "email,kind,reason,expires_at\nzoe@example.com,address,bounce,{until}\nx@y.test,address,whim,\nbob@example.com,,,{until}\n"
    );
    let named = import(named).await.expect(200);
    assert_eq!((&named["added"], &named["known"], &named["malformed"]), (&json!(1), &json!(1), &json!(1)));
    let answer = app.get(&ann, "/suppressions/export").await;
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/csv; charset=utf-8");
    let file = String::from_utf8(answer.body).expect("UTF-8");
    let mut lines: Vec<&str> = file.lines().skip(1).map(|line| line.rsplit_once(',').expect("a time").0).collect();
    lines.sort_unstable();
    let expected = [
        "bob@example.com,address,manual,",
        "example.org,domain,manual,",
        "quoted@example.com,address,manual,",
        "zoe@example.com,address,bounce,2099-01-01T00:00:00.000Z",
    ];
    assert_eq!(lines, expected);
    let again = import(file).await.expect(200);
    assert_eq!(
        (&again["added"], &again["known"], &again["malformed"]),
        (&json!(0), &json!(4), &json!(0)),
        "what goes out comes in"
    );
    let many: String = (0..3_500).map(|n| format!("a{n}@many.test\n")).collect();
    assert_eq!(import(many).await.expect(200)["added"], 3_500);
    let exported = String::from_utf8(app.get(&ann, "/suppressions/export").await.body).expect("UTF-8");
    assert_eq!(exported.lines().count(), 1 + 4 + 3_500);
    import("x".repeat(5_000)).await.problem(400);
}
