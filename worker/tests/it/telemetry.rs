//! Traces and errors leave the house as the settings say, and nobody waits for whoever takes them.

use std::sync::Arc;

use axum::{Router, body::Bytes, extract::State, http::Uri};
use parking_lot::Mutex;
use shared::{
    queue::lane::Lane,
    telemetry::{self, traces},
};
use tracing::Instrument;

use crate::house::House;

type Received = Arc<Mutex<Vec<(String, Bytes)>>>;

/// A server that takes everything and keeps it.
async fn collector() -> (String, Received) {
    async fn take(State(received): State<Received>, uri: Uri, body: Bytes) {
        received.lock().push((uri.path().to_owned(), body));
    }
    let received = Received::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new().fallback(take).with_state(received.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address.to_string(), received)
}

/// Trace id and name of every span of an OTLP request: field 1 is the trace (16 octets), 2 the span and 4 its parent (8 each), 3 the
/// state, 5 the name.
fn spans(body: &[u8]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for start in 0..body.len() {
        let Some(trace) = body[start..].strip_prefix(&[0x0a, 16]).and_then(|rest| rest.get(..16)) else { continue };
        let mut rest = &body[start + 18..];
        while let [tag, length, after @ ..] = rest {
            let Some((value, next)) = after.split_at_checked(usize::from(*length)) else { break };
            match tag {
                0x12 | 0x22 if *length == 8 => rest = next,
                0x1a => rest = next,
                0x2a => {
                    let hex = trace.iter().map(|octet| format!("{octet:02x}")).collect();
                    found.push((hex, String::from_utf8_lossy(value).into_owned()));
                    break;
                }
                _ => break,
            }
        }
    }
    found
}

#[tokio::test]
async fn a_request_its_jobs_and_their_mails_are_one_trace() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let (address, received) = collector().await;
    let mut house = House::new().await;
    house.stage.settings.log.filter = "off".to_owned();
    house.stage.settings.telemetry.otlp_endpoint = format!("http://{address}/");
    house.stage.settings.telemetry.sample_ratio = 1.0;
    let (sink, telemetry) = telemetry::sink(&house.stage.settings, "mochila-test").expect("the settings are good");
    let installed = tracing::subscriber::set_default(sink);
    let request = tracing::info_span!(target: "mochila", "http.request");
    traces::follow(&request, &format!("00-{TRACE}-b7ad6b7169203331-00"));
    let campaign = house.stage.campaign(&[("orchard.test", 3)]).instrument(request).await.campaign_id;
    let worker = house.worker(&[(Lane::Bulk, 1)]).await;
    house.until_finished(campaign).await;
    worker.stop().await;
    telemetry.flush().await;
    drop(installed);
    let all: Vec<(String, String)> = received.lock().iter().flat_map(|(_, body)| spans(body)).collect();
    let count = |name: &str| all.iter().filter(|(trace, span)| trace == TRACE && span == name).count();
    assert_eq!((count("http.request"), count("job.run"), count("smtp.send")), (1, 2, 3), "{all:?}");
    assert!(received.lock().iter().all(|(path, _)| path == "/v1/traces"));
}

#[tokio::test]
async fn a_dead_collector_holds_nobody_up() {
    let mut house = House::new().await;
    house.stage.settings.log.filter = "off".to_owned();
    house.stage.settings.telemetry.otlp_endpoint = "http://127.0.0.1:1".to_owned();
    house.stage.settings.telemetry.sample_ratio = 1.0;
    let (sink, telemetry) = telemetry::sink(&house.stage.settings, "mochila-test").expect("the settings are good");
    let installed = tracing::subscriber::set_default(sink);
    let campaign = house.stage.campaign(&[("orchard.test", 50)]).await.campaign_id;
    let worker = house.worker(&[(Lane::Bulk, 1)]).await;
    assert_eq!(house.until_finished(campaign).await.accepted, 50);
    worker.stop().await;
    telemetry.flush().await;
    drop(installed);
}

#[tokio::test]
async fn an_error_is_told_without_personal_data() {
    let (address, received) = collector().await;
    let mut settings = shared::settings::Settings::sample();
    settings.log.filter = "off".to_owned();
    settings.telemetry.sentry_dsn = format!("http://key@{address}/1").into();
    let (sink, telemetry) = telemetry::sink(&settings, "mochila-test").expect("the settings are good");
    let installed = tracing::subscriber::set_default(sink);
    tracing::warn!("a warning stays here");
    tracing::error!(error.full = "Key (email)=(ann@mail.test) already exists", "a request of bob@mail.test failed");
    drop(installed);
    telemetry.flush().await;
    let told: String = received.lock().iter().map(|(_, body)| String::from_utf8_lossy(body).into_owned()).collect();
    assert!(told.contains("a request of [address] failed") && told.contains("Key (email)=([address]) already exists"), "{told}");
    for secret in ["ann@", "bob@", "mail.test", "a warning"] {
        assert!(!told.contains(secret), "{secret} is in {told}");
    }
}

#[tokio::test]
async fn a_malformed_setting_is_named() {
    let mut settings = shared::settings::Settings::sample();
    settings.telemetry.sentry_dsn = "hunter2".to_owned().into();
    let error = telemetry::sink(&settings, "mochila-test").err().expect("malformed");
    assert!(error.starts_with("settings: telemetry.sentry_dsn is malformed") && !error.contains("hunter2"), "{error}");
}
