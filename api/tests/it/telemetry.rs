//! The trace of a request goes on in its job.

use axum::{
    body::Body,
    http::{Request, header},
};
use shared::telemetry;

use crate::shop::Shop;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// The trace that the job of a campaign's test mail carries, which was asked for with this `traceparent`.
async fn carried(shop: &Shop, traceparent: &str) -> Option<String> {
    let campaign = shop.campaign().await;
    let request = Request::post(format!("/api/v1/campaigns/{campaign}/test"))
        .header(header::AUTHORIZATION, format!("Bearer {}", shop.owner.token))
        .header(header::CONTENT_TYPE, "application/json")
        .header("traceparent", traceparent);
    let body = Body::from(r#"{"to": ["ada@one.test"]}"#);
    let answer = shop.app.send(request.body(body).expect("a request")).await;
    let id = answer.expect(202)["job_id"].as_str().expect("an id").parse().expect("a UUID");
    let scope = shared::accounts::scope::Scope::client(shop.owner.workspace_id);
    let mut connection = shop.app.stage.pool.acquire().await.expect("a connection");
    shared::queue::inspect::find(&mut connection, scope, id).await.expect("a job").trace
}

#[tokio::test]
async fn a_job_carries_the_trace_of_its_request() {
    let shop = Shop::new().await;
    let mut settings = shop.app.stage.settings.clone();
    assert_eq!(carried(&shop, &format!("00-{TRACE}-b7ad6b7169203331-01")).await, None, "traces are off");
    settings.log.filter = "off".to_owned();
    settings.telemetry.otlp_endpoint = "http://127.0.0.1:1".to_owned();
    settings.telemetry.sample_ratio = 1.0;
    let (sink, telemetry) = telemetry::sink(&settings, "mochila-test").expect("the settings are good");
    let installed = tracing::subscriber::set_default(sink);
    let given = carried(&shop, &format!("00-{TRACE}-b7ad6b7169203331-00")).await.expect("a trace");
    let own = carried(&shop, "not a traceparent").await.expect("a trace");
    drop(installed);
    telemetry.flush().await;
    assert!(given.starts_with(&format!("00-{TRACE}-")) && given.ends_with("-01"), "ours decides what is sent: {given}");
    assert!(!given.contains("b7ad6b7169203331"), "the job's parent is our request: {given}");
    assert!(!own.contains(TRACE) && own.len() == 55, "{own}");
}
