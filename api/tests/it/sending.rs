use insta::assert_json_snapshot;
use serde_json::json;

use crate::app::TestApp;

#[tokio::test]
async fn an_admin_pauses_and_resumes_all_sending() {
    let app = TestApp::new().await;
    let admin = app.admin().await;
    let running = json!({"sending": true, "held": null, "reason": null, "paused_at": null});
    assert_eq!(app.get(&admin, "/sending").await.expect(200), running);
    let paused = app.put(&admin, "/sending", json!({"paused": true, "reason": "the relay is being moved"})).await.expect(200);
    assert_json_snapshot!(paused, {".paused_at" => "then"}, @r#"
    {
      "held": "campaigns",
      "paused_at": "then",
      "reason": "the relay is being moved",
      "sending": false
    }
    "#);
    let everything = app.put(&admin, "/sending", json!({"paused": true, "everything": true})).await.expect(200);
    assert_eq!(everything["held"], "everything");
    assert_eq!(everything["paused_at"], paused["paused_at"]);
    assert_eq!(app.put(&admin, "/sending", json!({"paused": false})).await.expect(200), running);
    let long = app.put(&admin, "/sending", json!({"paused": true, "reason": "x".repeat(501)})).await;
    assert_eq!(long.problem(400)["errors"][0]["field"], "reason");
}

#[tokio::test]
async fn an_admin_confirms_a_restored_copy() {
    let app = TestApp::new().await;
    let admin = app.admin().await;
    app.stage
        .execute("UPDATE installation SET database_oid = 1, written_by = pg_current_xact_id()::text::bigint % 4294967296")
        .await;
    assert_eq!(app.get(&admin, "/sending").await.expect(200)["held"], "restored");
    assert_eq!(app.put(&admin, "/sending", json!({"paused": false})).await.expect(200)["held"], "restored");
    for _ in 0..2 {
        let confirmed = app.call(Some(&admin), axum::http::Method::POST, "/sending/confirm-restore", None).await.expect(200);
        assert_eq!(confirmed["sending"], true);
    }
}

#[tokio::test]
async fn the_switch_is_for_admins() {
    let app = TestApp::new().await;
    let client = app.somebody().await;
    app.get(&client, "/sending").await.problem(403);
    app.put(&client, "/sending", json!({"paused": true})).await.problem(403);
    app.post(&client, "/sending/confirm-restore", json!({})).await.problem(403);
    assert_eq!(app.get(&app.admin().await, "/sending").await.expect(200)["sending"], true);
}
