use std::{pin::Pin, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{Request, header},
};
use chrono::TimeDelta;
use futures::{Stream, StreamExt};
use insta::assert_json_snapshot;
use mochila_api::events::{Events, Rhythm};
use serde_json::{Value, json};
use shared::queue::{
    job::{self, Enqueue},
    lane::Lane,
    payload::Job,
};
use tower::ServiceExt;
use uuid::Uuid;

use crate::{
    app::{Person, TestApp},
    shop::Shop,
};

#[derive(serde::Serialize, serde::Deserialize)]
struct CountSheep {}

impl Job for CountSheep {
    const NAME: &'static str = "CountSheep";
    const LANE: Lane = Lane::Maintenance;
    const ATTEMPTS: i32 = 1;
}

/// Looks and checks without a pause worth mentioning.
const QUICK: Rhythm = Rhythm {
    look: Duration::from_millis(20),
    recheck: Duration::from_millis(20),
    heartbeat: Duration::from_millis(50),
    longest: Duration::from_secs(600),
};

fn quick(app: TestApp, rhythm: Rhythm) -> TestApp {
    let streams = app.stage.settings.limits.streams_per_user;
    let events = Arc::new(Events::new(&app.stage.pool, &app.stage.clock, streams, rhythm));
    let state = app.state.clone().with(|parts| parts.events = events);
    app.over(state)
}

async fn enqueued(app: &TestApp, person: &Person) -> Uuid {
    let mut connection = app.stage.pool.acquire().await.expect("a connection");
    let options = Enqueue { workspace_id: Some(person.workspace_id), progress_total: Some(200), ..Enqueue::default() };
    job::enqueue(&mut connection, &CountSheep {}, options).await.expect("a job")
}

/// A stream that is being read.
struct Reader {
    body: Pin<Box<dyn Stream<Item = Result<Bytes, axum::Error>> + Send>>,
    text: String,
}

#[derive(Debug)]
struct Told {
    name: String,
    id: String,
    data: Value,
}

impl Reader {
    async fn open(app: &TestApp, person: &Person, path: &str, last: Option<&str>) -> Result<Self, u16> {
        let mut request = Request::get(format!("/api/v1{path}")).header(header::AUTHORIZATION, format!("Bearer {}", person.token));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let router = mochila_api::router(app.state.clone());
        let response = router.oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer");
        if response.status() != 200 {
            return Err(response.status().as_u16());
        }
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Ok(Self { body: Box::pin(response.into_body().into_data_stream()), text: String::new() })
    }

    /// The next event; nothing when the stream is over.
    async fn next(&mut self) -> Option<Told> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n").map(|(block, rest)| (block.to_owned(), rest.to_owned())) {
                self.text = rest;
                let field =
                    |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned));
                if let (Some(name), Some(id), Some(data)) = (field("event"), field("id"), field("data")) {
                    return Some(Told { name, id, data: serde_json::from_str(&data).expect("JSON") });
                }
            }
            let piece = self.body.next().await?.expect("bytes");
            self.text.push_str(std::str::from_utf8(&piece).expect("text"));
        }
    }

    /// Whether the next that comes is a sign of life.
    async fn heartbeat(&mut self) -> bool {
        let piece = self.body.next().await.expect("a piece").expect("bytes");
        piece.starts_with(b":")
    }
}

async fn set(app: &TestApp, id: Uuid, change: &str) {
    app.stage.arrange(format!("UPDATE jobs SET {change}, updated_at = now() WHERE id = '{id}'")).await;
}

#[tokio::test]
async fn a_job_is_told_from_where_it_is_to_its_end() {
    let app = quick(TestApp::new().await, QUICK);
    let ann = app.somebody().await;
    let id = enqueued(&app, &ann).await;
    let mut reader = Reader::open(&app, &ann, &format!("/jobs/{id}/events"), None).await.expect("a stream");
    let first = reader.next().await.expect("an event");
    assert_eq!((first.name.as_str(), &first.data["state"]), ("change", &json!("queued")));
    assert_eq!(first.data, app.get(&ann, &format!("/jobs/{id}")).await.expect(200));
    // What changes nothing that is told is no event.
    assert!(reader.heartbeat().await);
    set(&app, id, "deliveries = 1").await;
    set(&app, id, "progress_done = 50").await;
    let second = reader.next().await.expect("an event");
    assert_json_snapshot!(second.data["progress"], @r#"
    {
      "done": 50,
      "percent": 25,
      "total": 200
    }
    "#);
    assert!(micros(&second) > micros(&first));
    set(&app, id, "state = 'succeeded', progress_done = 200, finished_at = now()").await;
    let last = reader.next().await.expect("an event");
    assert_eq!((last.name.as_str(), &last.data["state"]), ("end", &json!("succeeded")));
    assert!(reader.next().await.is_none());
    drop(reader);
    // A client that comes back after the end is told not to.
    assert_eq!(Reader::open(&app, &ann, &format!("/jobs/{id}/events"), Some(&last.id)).await.err(), Some(204));
}

fn micros(told: &Told) -> i64 {
    told.id.split('-').next().expect("a part").parse().expect("a number")
}

#[tokio::test]
async fn who_comes_back_is_told_what_is_new_and_nothing_twice() {
    let app = quick(TestApp::new().await, QUICK);
    let ann = app.somebody().await;
    let id = enqueued(&app, &ann).await;
    let path = format!("/jobs/{id}/events");
    let seen = Reader::open(&app, &ann, &path, None).await.expect("a stream").next().await.expect("an event").id;
    // Another process, which has never looked at it.
    let other = quick(app, QUICK);
    let mut reader = Reader::open(&other, &ann, &path, Some(&seen)).await.expect("a stream");
    assert!(reader.heartbeat().await);
    set(&other, id, "progress_done = 7").await;
    assert_eq!(reader.next().await.expect("an event").data["progress"]["done"], 7);
    let mut missed = Reader::open(&other, &ann, &path, Some(&seen)).await.expect("a stream");
    assert_eq!(missed.next().await.expect("an event").data["progress"]["done"], 7);
    let mut strange = Reader::open(&other, &ann, &path, Some("nonsense")).await.expect("a stream");
    assert_eq!(strange.next().await.expect("an event").data["progress"]["done"], 7);
}

#[tokio::test]
async fn a_campaign_is_told_with_its_counts() {
    let Shop { app, owner, list_id, route_id, contact_ids, admin } = Shop::new().await;
    let app = quick(app, QUICK);
    let shop = Shop { app, owner, list_id, route_id, contact_ids, admin };
    let campaign = shop.campaign().await;
    let mut reader = Reader::open(&shop.app, &shop.owner, &format!("/campaigns/{campaign}/events"), None).await.expect("a stream");
    assert_eq!(reader.next().await.expect("an event").data["state"], "draft");
    shop.put_into(&campaign, "sending").await;
    assert_eq!(reader.next().await.expect("an event").data["state"], "sending");
    shop.deliver(&campaign, ["accepted", "pending"]).await;
    let event = loop {
        let event = reader.next().await.expect("an event");
        if event.data["accepted"] == 1 {
            break event;
        }
    };
    assert_eq!((&event.data["audience"], &event.data["pending"]), (&json!(2), &json!(1)));
    shop.app
        .stage
        .arrange(format!("UPDATE campaigns SET audience = 1, state = 'finished', finished_at = now() WHERE id = '{campaign}'"))
        .await;
    let last = reader.next().await.expect("an event");
    assert_eq!((last.name.as_str(), &last.data["state"]), ("end", &json!("finished")));
    assert!(reader.next().await.is_none());
}

#[tokio::test]
async fn a_stream_ends_when_the_user_is_shut_out_or_the_token_expires_or_the_process_stops() {
    let app = quick(TestApp::new().await, QUICK);
    let (ann, bob, zoe) = (app.somebody().await, app.somebody().await, app.somebody().await);
    let mut readers = Vec::new();
    for person in [&ann, &bob, &zoe] {
        let id = enqueued(&app, person).await;
        let mut reader = Reader::open(&app, person, &format!("/jobs/{id}/events"), None).await.expect("a stream");
        assert_eq!(reader.next().await.expect("an event").name, "change");
        readers.push(reader);
    }
    app.stage.arrange(format!("UPDATE users SET disabled_at = now() WHERE id = '{}'", ann.user_id)).await;
    assert!(readers[0].next().await.is_none());
    assert!(readers[1].heartbeat().await);
    app.stage.clock.advance(TimeDelta::days(1));
    assert!(readers[1].next().await.is_none());

    let slow = Rhythm { recheck: Duration::from_secs(600), ..QUICK };
    let app = quick(app, slow);
    let person = Person { token: app.state.sessions.tokens.issue(zoe.user_id, zoe.session_id).expect("a token"), ..zoe };
    let id = enqueued(&app, &person).await;
    let mut reader = Reader::open(&app, &person, &format!("/jobs/{id}/events"), None).await.expect("a stream");
    assert!(reader.next().await.is_some());
    app.state.stopping.cancel();
    assert!(reader.next().await.is_none());
}

#[tokio::test]
async fn streams_of_strangers_and_too_many_of_ones_own_are_refused() {
    let app = quick(TestApp::with(|settings| settings.limits.streams_per_user = 2).await, QUICK);
    let (ann, bob) = (app.somebody().await, app.somebody().await);
    let id = enqueued(&app, &ann).await;
    let path = format!("/jobs/{id}/events");
    assert_eq!(Reader::open(&app, &bob, &path, None).await.err(), Some(403));
    assert_eq!(Reader::open(&app, &ann, &format!("/jobs/{}/events", Uuid::now_v7()), None).await.err(), Some(404));
    assert_eq!(Reader::open(&app, &bob, &format!("/campaigns/{}/events", Uuid::now_v7()), None).await.err(), Some(404));
    let (one, two) =
        (Reader::open(&app, &ann, &path, None).await.expect("one"), Reader::open(&app, &ann, &path, None).await.expect("two"));
    let refused = app.get(&ann, &path).await;
    assert_eq!(refused.headers["retry-after"], "15");
    assert_eq!(refused.problem(429)["detail"], "2 event streams are open already");
    assert_eq!(app.state.events.jobs.watched(), 1);
    drop(one);
    let three = Reader::open(&app, &ann, &path, None).await.expect("a seat is free");
    drop((two, three));
    assert_eq!(app.state.events.jobs.watched(), 0);
}
