//! A breaker that several workers share.

use futures::future::join_all;
use shared::{
    routes::health::{self, Health, Seen},
    testing::Stage,
};
use uuid::Uuid;

struct Relay {
    stage: Stage,
    id: Uuid,
}

impl Relay {
    async fn new() -> Self {
        let mut stage = Stage::new().await;
        // Long, so that no pause ends by itself.
        stage.settings.sending.breaker.pause_seconds = 1_000.0;
        stage.settings.sending.breaker.longest_pause_seconds = 60_000.0;
        let id = stage.route(2525).await;
        Self { stage, id }
    }

    async fn health(&self) -> Health {
        let mut connection = self.stage.pool.acquire().await.expect("a connection");
        health::of(&mut connection, &[self.id]).await.expect("rows").remove(&self.id).unwrap_or_default()
    }

    async fn open(&self) -> bool {
        health::open(&self.stage.pool, self.id, "connect: refused", &self.stage.settings.sending.breaker).await.expect("opened")
    }

    /// Moves the pause, or the probe's right, into the past.
    async fn elapse(&self) {
        self.stage.execute("UPDATE route_health SET retry_at = now() - interval '1 second'").await;
    }

    async fn claim(&self) -> Option<health::Probe> {
        health::claim(&self.stage.pool, self.id, &self.stage.settings.sending.breaker).await.expect("an answer")
    }

    /// In first pauses.
    async fn pause(&self) -> u32 {
        (health::broken(&self.stage.pool).await.expect("rows")[0].retry_seconds / 1_000.0).ceil() as u32
    }
}

#[tokio::test]
async fn of_many_workers_one_opens_it_and_one_tries_it() {
    let relay = Relay::new().await;
    let opened = join_all((0..8).map(|_| relay.open())).await;
    assert_eq!(opened.iter().filter(|opened| **opened).count(), 1);
    assert_eq!(relay.claim().await, None, "its pause is not over");
    relay.elapse().await;
    let claims = join_all((0..8).map(|_| relay.claim())).await;
    assert_eq!(claims.iter().flatten().count(), 1);
    assert_eq!(relay.health().await.state, "half_open");
}

#[tokio::test]
async fn each_failed_try_doubles_the_pause_up_to_the_longest_and_a_carried_message_begins_anew() {
    let relay = Relay::new().await;
    let settings = relay.stage.settings.sending.breaker.clone();
    relay.open().await;
    let mut pauses = vec![relay.pause().await];
    for _ in 0..7 {
        relay.elapse().await;
        let probe = relay.claim().await.expect("a try");
        assert!(health::failed(&relay.stage.pool, probe, "greeting: 421", &settings).await.expect("written"));
        pauses.push(relay.pause().await);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(relay.health().await.last_error.as_deref(), Some("greeting: 421"));

    health::close(&relay.stage.pool, relay.id).await.expect("closed");
    health::note(&relay.stage.pool, relay.id, &Seen { carried: true, ..Seen::default() }).await.expect("noted");
    assert_eq!(relay.health().await.failures, 0);
    relay.open().await;
    assert_eq!(relay.pause().await, 1);
}

#[tokio::test]
async fn a_try_whose_worker_died_ends_by_itself_and_its_late_answer_counts_only_where_it_is_good() {
    let relay = Relay::new().await;
    let settings = relay.stage.settings.sending.breaker.clone();
    relay.open().await;
    relay.elapse().await;
    let dead = relay.claim().await.expect("a try");
    assert_eq!(relay.claim().await, None, "one connection at a time");
    relay.elapse().await;
    let second = relay.claim().await.expect("the first is given up");
    assert!(!health::failed(&relay.stage.pool, dead, "late", &settings).await.expect("an answer"));
    assert_eq!(relay.health().await.state, "half_open");
    health::close(&relay.stage.pool, relay.id).await.expect("closed");
    assert!(!health::failed(&relay.stage.pool, second, "later still", &settings).await.expect("an answer"));
    assert_eq!(relay.health().await.state, "closed");
}

#[tokio::test]
async fn failures_that_another_worker_reports_late_do_not_close_or_open_anything() {
    let relay = Relay::new().await;
    relay.open().await;
    let seen = Seen { carried: true, failures: 2, error: None };
    health::note(&relay.stage.pool, relay.id, &seen).await.expect("noted");
    assert_eq!(relay.health().await.state, "open", "a probe decides");
    health::note(&relay.stage.pool, Uuid::now_v7(), &seen).await.expect("a route that is gone is nobody's matter");
}

#[tokio::test]
async fn jobs_that_wait_for_a_route_are_due_when_it_is_mended_and_others_are_not() {
    let relay = Relay::new().await;
    relay
        .stage
        .execute(
            "INSERT INTO jobs (id, kind, lane, flow, state, run_at, payload, last_error) VALUES
                 (gen_random_uuid(), 'SendChunk', 'bulk', 'a', 'scheduled', now() + interval '1 hour', '{}', 'route: no route works'),
                 (gen_random_uuid(), 'SendChunk', 'bulk', 'a', 'scheduled', now() + interval '1 hour', '{}', 'redis: gone'),
                 (gen_random_uuid(), 'SendChunk', 'bulk', 'a', 'scheduled', now() + interval '1 hour', '{}', NULL)",
        )
        .await;
    relay.open().await;
    health::close(&relay.stage.pool, relay.id).await.expect("closed");
    let due = "SELECT count(*) FROM jobs WHERE run_at <= clock_timestamp() AND last_error = 'route: no route works'";
    assert_eq!(relay.stage.number(due, relay.id).await, 1);
    assert_eq!(relay.stage.number("SELECT count(*) FROM jobs WHERE run_at > clock_timestamp()", relay.id).await, 2);
}

#[tokio::test]
async fn a_change_by_a_person_has_the_route_tried_at_once() {
    let relay = Relay::new().await;
    relay.open().await;
    assert_eq!(relay.claim().await, None);
    let mut connection = relay.stage.pool.acquire().await.expect("a connection");
    health::try_at_once(&mut connection, relay.id).await.expect("due");
    assert!(relay.claim().await.is_some());
}
