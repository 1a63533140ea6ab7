use insta::assert_json_snapshot;
use serde_json::json;

use crate::app::TestApp;

#[tokio::test]
async fn a_list_is_made_read_renamed_and_removed() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let made = app.post(&ann, "/lists", json!({ "name": " Spring sale " })).await.expect(201);
    let path = format!("/lists/{}", made["id"].as_str().expect("an id"));
    assert_json_snapshot!(made, { ".id" => "…", ".workspace_id" => "…", ".created_at" => "…", ".updated_at" => "…" }, @r#"
    {
      "contacts": 0,
      "created_at": "…",
      "id": "…",
      "name": "Spring sale",
      "updated_at": "…",
      "workspace_id": "…"
    }
    "#);
    assert_eq!(app.get(&ann, &path).await.expect(200), made);
    assert_eq!(app.patch(&ann, &path, json!({ "name": "Autumn sale" })).await.expect(200)["name"], "Autumn sale");
    assert_eq!(app.delete(&ann, &path).await.status, 204);
    app.get(&ann, &path).await.problem(404);
}

#[tokio::test]
async fn a_name_is_there_once_in_a_workspace() {
    let app = TestApp::new().await;
    let (ann, bob) = (app.somebody().await, app.somebody().await);
    app.post(&ann, "/lists", json!({ "name": "Customers" })).await.expect(201);
    assert_json_snapshot!(app.post(&ann, "/lists", json!({ "name": "Customers" })).await.problem(409), @r#"
    {
      "detail": "a list with the name \"Customers\" exists already",
      "status": 409,
      "title": "Conflict",
      "type": "about:blank"
    }
    "#);
    app.post(&bob, "/lists", json!({ "name": "Customers" })).await.expect(201);
    let long = "x".repeat(201);
    assert_json_snapshot!(app.post(&ann, "/lists", json!({ "name": long })).await.problem(400), @r#"
    {
      "detail": "name: must have 1 to 200 characters, not 201",
      "errors": [
        {
          "field": "name",
          "message": "must have 1 to 200 characters, not 201"
        }
      ],
      "status": 400,
      "title": "Bad Request",
      "type": "about:blank"
    }
    "#);
}

#[tokio::test]
async fn lists_come_newest_first_in_pages_and_by_search() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    for name in ["Customers", "Leads 100%", "Friends"] {
        app.post(&ann, "/lists", json!({ "name": name })).await.expect(201);
    }
    let page = app.get(&ann, "/lists?page=1&limit=2").await.expect(200);
    assert_json_snapshot!(page["pagination"], @r#"
    {
      "has_next": true,
      "has_prev": false,
      "limit": 2,
      "page": 1,
      "total": 3,
      "total_pages": 2
    }
    "#);
    assert_eq!(page["data"][0]["name"], "Friends");
    let found = app.get(&ann, "/lists?search=100%25").await.expect(200);
    assert_eq!((found["data"].as_array().map(Vec::len), &found["data"][0]["name"]), (Some(1), &json!("Leads 100%")));
}

#[tokio::test]
async fn contacts_are_put_on_a_list_and_taken_off() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let list = app.post(&ann, "/lists", json!({ "name": "Customers" })).await.expect(201)["id"].as_str().expect("an id").to_owned();
    let mut ids = Vec::new();
    for email in ["one@example.com", "two@example.com"] {
        ids.push(
            app.post(&ann, "/contacts", json!({ "email": email })).await.expect(201)["id"].as_str().expect("an id").to_owned(),
        );
    }
    let members = format!("/lists/{list}/contacts");
    assert_json_snapshot!(app.post(&ann, &members, json!({ "contact_ids": ids })).await.expect(200), @r#"
    {
      "added": 2
    }
    "#);
    assert_eq!(app.post(&ann, &members, json!({ "contact_ids": ids })).await.expect(200)["added"], 0);
    assert_eq!(app.get(&ann, &format!("/lists/{list}")).await.expect(200)["contacts"], 2);
    assert_eq!(app.get(&ann, &members).await.expect(200)["pagination"]["total"], 2);
    assert_eq!(app.delete(&ann, &format!("{members}/{}", ids[0])).await.status, 204);
    app.delete(&ann, &format!("{members}/{}", ids[0])).await.problem(404);
    assert_eq!(app.get(&ann, &format!("/contacts?list_id={list}")).await.expect(200)["data"][0]["email"], "two@example.com");
    app.post(&ann, &members, json!({ "contact_ids": [] })).await.problem(400);
}

#[tokio::test]
async fn a_client_cannot_touch_another_workspaces_list() {
    let app = TestApp::new().await;
    let (ann, bob, admin) = (app.somebody().await, app.somebody().await, app.admin().await);
    let list = app.post(&ann, "/lists", json!({ "name": "Customers" })).await.expect(201)["id"].as_str().expect("an id").to_owned();
    let contact = app.post(&bob, "/contacts", json!({ "email": "bob@example.com" })).await.expect(201)["id"].clone();
    let path = format!("/lists/{list}");
    app.get(&bob, &path).await.problem(403);
    app.patch(&bob, &path, json!({ "name": "Mine" })).await.problem(403);
    app.delete(&bob, &path).await.problem(403);
    app.get(&bob, &format!("{path}/contacts")).await.problem(403);
    app.post(&ann, &format!("{path}/contacts"), json!({ "contact_ids": [contact] })).await.problem(403);
    assert_eq!(app.get(&bob, "/lists").await.expect(200)["pagination"]["total"], 0);
    app.get(&admin, &path).await.expect(200);
    app.delete(&admin, &path).await.problem(403);
}
