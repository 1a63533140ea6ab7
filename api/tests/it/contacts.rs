use insta::assert_json_snapshot;
use serde_json::json;

use crate::app::TestApp;

#[tokio::test]
async fn a_contact_is_made_read_changed_and_removed() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let list = app.post(&ann, "/lists", json!({ "name": "Customers" })).await.expect(201)["id"].clone();
    let body = json!({ "email": "ZOË@Bücher.example.com", "name": "Zoë", "attributes": { "city": "Łódź", "age": 41 }, "list_ids": [list] });
    let made = app.post(&ann, "/contacts", body).await.expect(201);
    assert_json_snapshot!(made, { ".id" => "…", ".workspace_id" => "…", ".created_at" => "…", ".updated_at" => "…" }, @r#"
    {
      "attributes": {
        "age": 41,
        "city": "Łódź"
      },
      "created_at": "…",
      "email": "zoë@xn--bcher-kva.example.com",
      "id": "…",
      "name": "Zoë",
      "state": "subscribed",
      "unsubscribed_at": null,
      "updated_at": "…",
      "workspace_id": "…"
    }
    "#);
    let path = format!("/contacts/{}", made["id"].as_str().expect("an id"));
    assert_eq!(app.get(&ann, &path).await.expect(200), made);

    let changed = app.patch(&ann, &path, json!({ "state": "unsubscribed", "name": "Z" })).await.expect(200);
    assert_eq!(changed["unsubscribed_at"], "2026-01-15T12:00:00Z");
    assert_eq!((&changed["name"], &changed["attributes"]["age"]), (&json!("Z"), &json!(41)));
    let back = app.patch(&ann, &path, json!({ "state": "subscribed" })).await.expect(200);
    assert!(back["unsubscribed_at"].is_null());
    assert_eq!(app.patch(&ann, &path, json!({ "state": "blocked" })).await.expect(200)["state"], "blocked");

    assert_eq!(app.delete(&ann, &path).await.status, 204);
    app.get(&ann, &path).await.problem(404);
}

#[tokio::test]
async fn an_address_is_there_once_in_a_workspace() {
    let app = TestApp::new().await;
    let (ann, bob) = (app.somebody().await, app.somebody().await);
    app.post(&ann, "/contacts", json!({ "email": "one@example.com" })).await.expect(201);
    assert_json_snapshot!(app.post(&ann, "/contacts", json!({ "email": "ONE@example.com" })).await.problem(409), @r#"
    {
      "detail": "a contact with the e-mail one@example.com exists already",
      "status": 409,
      "title": "Conflict",
      "type": "about:blank"
    }
    "#);
    app.post(&bob, "/contacts", json!({ "email": "one@example.com" })).await.expect(201);
}

#[tokio::test]
async fn bad_contacts_are_refused_and_nothing_is_made() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    for bad in [
        json!({ "email": "a@b..c" }),
        json!({ "email": "a@example.com\r\nBcc: b@example.com" }),
        json!({ "email": "a@example.com", "name": "Ann\r\nBcc: b@example.com" }),
        json!({ "email": "a@example.com", "name": "x".repeat(201) }),
        json!({ "email": "a@example.com", "attributes": { "note": "x".repeat(8200) } }),
        json!({ "email": "a@example.com", "attributes": { "note": "a\0b" } }),
        json!({ "email": "a@example.com", "attributes": [1] }),
        json!({ "email": 7 }),
        json!({ "name": "nobody" }),
        json!({ "email": "a@example.com", "list_ids": ["x"] }),
    ] {
        app.post(&ann, "/contacts", bad).await.problem(400);
    }
    assert_eq!(app.get(&ann, "/contacts").await.expect(200)["pagination"]["total"], 0);
}

#[tokio::test]
async fn contacts_are_found_by_search_and_state() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    for (email, name) in [("one@example.com", "Åsa"), ("two@example.com", "Bo")] {
        app.post(&ann, "/contacts", json!({ "email": email, "name": name })).await.expect(201);
    }
    let total = async |query: &str| app.get(&ann, &format!("/contacts?{query}")).await.expect(200)["pagination"]["total"].clone();
    assert_eq!(total("search=ONE").await, 1);
    assert_eq!(total("search=%C3%85sa").await, 1);
    assert_eq!(total("search=_").await, 0);
    assert_eq!(total("state=subscribed").await, 2);
    assert_eq!(total("state=blocked&search=o").await, 0);
}

#[tokio::test]
async fn a_client_cannot_touch_another_workspaces_contact() {
    let app = TestApp::new().await;
    let (ann, bob) = (app.somebody().await, app.somebody().await);
    let id = app.post(&ann, "/contacts", json!({ "email": "one@example.com" })).await.expect(201)["id"].clone();
    let path = format!("/contacts/{}", id.as_str().expect("an id"));
    app.get(&bob, &path).await.problem(403);
    app.patch(&bob, &path, json!({ "name": "Eve" })).await.problem(403);
    app.delete(&bob, &path).await.problem(403);
    let list = app.post(&bob, "/lists", json!({ "name": "Customers" })).await.expect(201)["id"].clone();
    app.post(&ann, "/contacts", json!({ "email": "two@example.com", "list_ids": [list] })).await.problem(403);
    assert_eq!(app.get(&ann, "/contacts").await.expect(200)["pagination"]["total"], 1);
}
