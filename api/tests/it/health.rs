use axum::http::Method;
use insta::assert_json_snapshot;

use crate::app::TestApp;

#[tokio::test]
async fn health_and_readiness_need_no_credentials() {
    let app = TestApp::new().await;
    let health = app.call(None, Method::GET, "/health", None).await.expect(200);
    assert_json_snapshot!(health, @"");
    let ready = app.call(None, Method::GET, "/ready", None).await.expect(200);
    assert_json_snapshot!(ready, @"");
}
