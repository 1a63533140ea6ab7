use axum::http::Method;
use insta::assert_json_snapshot;
use mochila_api::AppState;
use shared::{clock::Clock, database};

use crate::app::TestApp;

#[tokio::test]
async fn health_and_readiness_need_no_credentials() {
    let app = TestApp::new().await;
    assert_json_snapshot!(app.call(None, Method::GET, "/health", None).await.expect(200), @r#"
    {
      "status": "ok",
      "timestamp": "2026-01-15T12:00:00Z"
    }
    "#);
    assert_json_snapshot!(app.call(None, Method::GET, "/ready", None).await.expect(200), @r#"
    {
      "postgres": "ok",
      "redis": "ok",
      "status": "ok",
      "timestamp": "2026-01-15T12:00:00Z"
    }
    "#);
    for path in ["/health", "/ready"] {
        assert_eq!(app.bare(Method::GET, path).await.status, 200, "{path} answers at the root too");
    }
}

#[tokio::test]
async fn without_redis_the_front_is_degraded_and_works() {
    let app = TestApp::with(|settings| settings.redis.url = "redis://127.0.0.1:1/0".to_owned().into()).await;
    let ready = app.call(None, Method::GET, "/ready", None).await.expect(200);
    assert_eq!(ready["status"], "degraded");
    assert_eq!(ready["redis"], "down: it refuses");
}

#[tokio::test]
async fn without_postgresql_every_request_fails_at_once_and_health_answers() {
    let app = TestApp::new().await;
    let mut settings = app.stage.settings.clone();
    settings.database.url = "postgres://nobody@127.0.0.1:1/nothing".to_owned().into();
    let pool = database::pool(&settings.database, "test").expect("the address is well-formed");
    let state = AppState::new(pool, settings, Clock::system()).expect("the settings are good");
    let app = app.over(state);
    assert_eq!(app.call(None, Method::GET, "/health", None).await.status, 200);
    let begun = std::time::Instant::now();
    let answer = app.log_in("ann@example.com", "whatever it is").await;
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    assert_json_snapshot!(answer.problem(500), @r#"
    {
      "detail": "something failed on our side; it is logged under the request id",
      "status": 500,
      "title": "Internal Server Error",
      "type": "about:blank"
    }
    "#);
    assert_json_snapshot!(app.call(None, Method::GET, "/ready", None).await.problem(503), @r#"
    {
      "detail": "PostgreSQL is down: no answer within 1 s",
      "status": 503,
      "title": "Service Unavailable",
      "type": "about:blank"
    }
    "#);
}

#[tokio::test]
async fn until_the_schema_is_known_only_health_answers() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    app.state.database.close("sample");
    app.get(&ann, "/lists").await.problem(500);
    app.call(None, Method::GET, "/ready", None).await.problem(503);
    app.call(None, Method::GET, "/health", None).await.expect(200);
    app.state.database.open();
    app.get(&ann, "/lists").await.expect(200);
}
