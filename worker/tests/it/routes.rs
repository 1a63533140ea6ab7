//! Several routes: shares, health, failover.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use mochila_bench::sink::{Options, Sink};
use mochila_worker::sending::limiter::{Limiter, Take};
use shared::{
    deliveries::shaping::{Level, resolve::Kind},
    keyspace::Keyspace,
    queue::lane::Lane,
    routes::payload::CheckRoute,
};
use uuid::Uuid;

use crate::{
    house::House,
    relay::{Breaks, BrokenRelay},
};

async fn second_sink(house: &House) -> (Sink, Uuid) {
    let sink = Sink::start(&Options::default()).await.expect("a sink");
    let route = house.stage.route(sink.smtp.port()).await;
    (sink, route)
}

impl House {
    /// The route to the house's own sink.
    async fn first_route(&self) -> Uuid {
        let request = shared::page::PageRequest::new(None, None).expect("the defaults");
        let routes = shared::routes::route::page(&self.stage.pool, request).await.expect("routes");
        routes.data.iter().map(|route| route.id).min().expect("a route")
    }

    async fn pin(&self, campaign: Uuid, route: Uuid) {
        self.stage.arrange(format!("UPDATE campaigns SET route_id = '{route}' WHERE id = '{campaign}'")).await;
    }

    async fn until_number(&self, question: &'static str, id: Uuid, wanted: i64) {
        for _ in 0..1_200 {
            if self.stage.number(question, id).await == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{question} is not {wanted} within a minute");
    }
}

const OPEN: &str = "SELECT count(*) FROM route_health WHERE route_id = $1 AND state <> 'closed'";
const MORE_THAN_ONE_ATTEMPT: &str = "SELECT count(*) FROM deliveries WHERE campaign_id = $1 AND attempts <> 1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_share_the_recipients() {
    let mut house = House::new().await;
    house.stage.settings.sending.chunk_recipients = 100;
    let (second, _) = second_sink(&house).await;
    house.stage.execute("UPDATE routes SET weight = 3 WHERE id = (SELECT min(id::text)::uuid FROM routes)").await;
    let campaign = house.stage.campaign(&[("orchard.test", 2_000), ("harbor.test", 2_000)]).await.campaign_id;
    let worker = house.worker(&[(Lane::Bulk, 4)]).await;
    let tally = house.until_finished(campaign).await;
    worker.stop().await;
    assert_eq!(tally.accepted, 4_000);
    let (first, second) = (house.sink.counts.stats().received, second.counts.stats().received);
    assert_eq!(first + second, 4_000);
    assert!((900..=1_100).contains(&second), "three to one, to within a chunk: {first} and {second}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_of_weight_0_is_used_only_when_no_other_works() {
    let house = House::new().await;
    let (spare, spare_route) = second_sink(&house).await;
    house.stage.execute("UPDATE routes SET weight = 0 WHERE id <> (SELECT min(id::text)::uuid FROM routes)").await;
    let campaign = house.stage.campaign(&[("orchard.test", 600)]).await.campaign_id;
    let worker = house.worker(&[(Lane::Bulk, 4)]).await;
    assert_eq!(house.until_finished(campaign).await.accepted, 600);
    assert_eq!((house.sink.counts.stats().received, spare.counts.stats().received), (600, 0));

    // Connections that are kept are closed with a 421, new ones before the greeting.
    house.sink.settings.refuse_connections.store(true, Ordering::Relaxed);
    let campaign = house.stage.campaign(&[("orchard.test", 600)]).await.campaign_id;
    let tally = house.until_finished(campaign).await;
    worker.stop().await;
    assert_eq!((tally.accepted, tally.unknown), (600, 0));
    assert_eq!((house.sink.counts.stats().received, spare.counts.stats().received), (600, 600));
    assert_eq!(house.stage.number(MORE_THAN_ONE_ATTEMPT, campaign).await, 0, "nobody was deferred");
    let by_spare = house.stage.number("SELECT count(*) FROM deliveries WHERE route_id = $1", spare_route).await;
    assert_eq!(by_spare, 600, "the ledger names the route that carried it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_connection_breaks_before_the_dot_takes_another_route_at_once() {
    let mut house = House::new().await;
    house.stage.settings.sending.chunk_recipients = 50;
    let broken = BrokenRelay::start(Breaks::AtData).await;
    let broken_route = house.stage.route(broken.port).await;
    let campaign = house.stage.campaign(&[("orchard.test", 300), ("harbor.test", 300)]).await.campaign_id;
    let worker = house.worker(&[(Lane::Bulk, 4)]).await;
    let tally = house.until_finished(campaign).await;
    assert_eq!((tally.accepted, tally.unknown), (600, 0), "{tally:?}");
    assert!(broken.connections.load(Ordering::Relaxed) > 0);
    assert_eq!(house.stage.number(MORE_THAN_ONE_ATTEMPT, campaign).await, 0, "nobody was deferred");
    assert_eq!(house.stage.number("SELECT count(*) FROM deliveries WHERE route_id = $1", broken_route).await, 0);
    let told = "SELECT count(*) FROM route_health WHERE route_id = $1 AND last_error LIKE 'data: %' AND failures > 0";
    house.until_number(told, broken_route, 1).await;
    worker.stop().await;
    assert_eq!(house.sink.counts.stats().duplicates, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_connection_breaks_after_the_dot_is_in_doubt_and_takes_no_other_route() {
    let mut house = House::new().await;
    house.stage.settings.sending.chunk_recipients = 50;
    let broken = BrokenRelay::start(Breaks::AfterTheDot).await;
    house.stage.route(broken.port).await;
    let campaign = house.stage.campaign(&[("orchard.test", 300), ("harbor.test", 300)]).await.campaign_id;
    let worker = house.worker(&[(Lane::Bulk, 4)]).await;
    let tally = house.until_finished(campaign).await;
    worker.stop().await;
    let taken = i64::try_from(broken.messages.load(Ordering::Relaxed)).expect("a count");
    assert!(taken > 0);
    assert_eq!((tally.unknown, tally.accepted), (taken, 600 - taken), "{tally:?}");
    let stats = house.sink.counts.stats();
    assert_eq!((i64::try_from(stats.received).expect("a count"), stats.duplicates), (600 - taken, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_whose_route_is_down_waits_without_a_slot_and_goes_on_when_it_is_back() {
    let mut house = House::new().await;
    house.stage.settings.sending.breaker.longest_pause_seconds = 1.0;
    let (other, other_route) = second_sink(&house).await;
    let route = house.first_route().await;
    house.sink.settings.refuse_connections.store(true, Ordering::Relaxed);
    let waiting = house.stage.campaign(&[("orchard.test", 700)]).await.campaign_id;
    house.pin(waiting, route).await;
    // One slot: whoever held it would hold the other campaign up.
    let worker = house.worker(&[(Lane::Bulk, 1)]).await;
    house.until_number(OPEN, route, 1).await;
    let quick = house.stage.campaign(&[("meadow.test", 700)]).await.campaign_id;
    house.pin(quick, other_route).await;
    assert_eq!(house.until_finished(quick).await.accepted, 700);
    let tally = house.tally(waiting).await;
    assert_eq!((tally.accepted, tally.unknown, tally.failed), (0, 0, 0), "{tally:?}");
    assert_eq!(other.counts.stats().received, 700, "a pinned campaign takes no other route");

    house.sink.settings.refuse_connections.store(false, Ordering::Relaxed);
    let tally = house.until_finished(waiting).await;
    worker.stop().await;
    assert_eq!((tally.accepted, tally.unknown), (700, 0));
    assert_eq!((house.sink.counts.stats().received, house.sink.counts.stats().duplicates), (700, 0));
    assert_eq!(house.stage.number(OPEN, route).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_says_whether_the_relay_answers_and_puts_a_mended_route_into_use() {
    let house = House::new().await;
    let silent = BrokenRelay::start(Breaks::BeforeTheGreeting).await;
    let (good, mut bad) = (house.first_route().await, Vec::new());
    bad.push(house.stage.route(silent.port).await);
    bad.push(house.stage.route(1).await);
    let breaker = shared::settings::Breaker {
        pause_seconds: 3_600.0,
        longest_pause_seconds: 3_600.0,
        probe_seconds: 1.0,
        ..house.stage.settings.sending.breaker.clone()
    };
    shared::routes::health::open(&house.stage.pool, good, "down", &breaker).await.expect("opened");
    let mut house = house;
    house.stage.settings.sending.breaker = breaker;
    let worker = house.worker(&[(Lane::Critical, 2)]).await;
    for (route, reachable) in [(good, true), (bad[0], false), (bad[1], false)] {
        let mut connection = house.stage.pool.acquire().await.expect("a connection");
        let job = shared::routes::payload::check(&mut connection, route).await.expect("a job");
        house.until_number("SELECT count(*) FROM jobs WHERE id = $1 AND state = 'succeeded'", job, 1).await;
        let said = house.stage.number("SELECT (result->>'reachable')::boolean::int::bigint FROM jobs WHERE id = $1", job).await;
        assert_eq!(said, i64::from(reachable), "{route}");
    }
    assert_eq!(house.stage.number(OPEN, good).await, 0);
    let failures = "SELECT failures FROM route_health WHERE route_id = $1 AND state = 'closed' AND last_error IS NOT NULL";
    assert_eq!(house.stage.number(failures, bad[0]).await, 1, "one failed check opens no breaker");
    assert_eq!(<CheckRoute as shared::queue::payload::Job>::LANE, Lane::Critical);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_asked_to_stop_does_not_wait_for_a_relay_that_never_greets() {
    let mut house = House::new().await;
    house.stage.settings.worker.drain_seconds = 1;
    let silent = BrokenRelay::start(Breaks::BeforeTheGreeting).await;
    let route = house.stage.route(silent.port).await;
    let campaign = house.stage.campaign(&[("orchard.test", 100)]).await.campaign_id;
    house.pin(campaign, route).await;
    let worker = house.worker(&[(Lane::Bulk, 1)]).await;
    while silent.connections.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    worker.stop().await;
    assert_eq!(house.stage.number("SELECT count(*) FROM jobs WHERE state = 'running'", campaign).await, 0, "the run has ended");
    let tally = house.tally(campaign).await;
    assert_eq!((tally.pending, tally.in_flight, tally.unknown), (100, 0, 0), "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_to_one_route_make_room_for_another_and_never_exceed_the_process() {
    let mut house = House::new().await;
    house.stage.settings.sending.connections = 4;
    house.stage.settings.sending.idle_seconds = 3_600;
    house.stage.settings.worker.slots.insert("bulk".to_owned(), 1);
    let (other, other_route) = second_sink(&house).await;
    let first = house.first_route().await;
    let worker = house.worker(&[(Lane::Bulk, 1)]).await;
    for (route, sink) in [(first, &house.sink), (other_route, &other), (first, &house.sink)] {
        let campaign = house.stage.campaign(&[("orchard.test", 200)]).await.campaign_id;
        house.pin(campaign, route).await;
        assert_eq!(house.until_finished(campaign).await.accepted, 200);
        let open = |sink: &Sink| sink.counts.connections_open.load(Ordering::Relaxed);
        for _ in 0..1_200 {
            if open(sink) == 4 && open(&house.sink) + open(&other) == 4 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!((open(sink), open(&house.sink) + open(&other)), (4, 4), "all are kept, and no more");
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_flushed_redis_sells_no_burst_again() {
    let house = House::new().await;
    let keyspace = Keyspace::new(&house.stage.settings.redis).expect("an address");
    let level = Level {
        scope: "route:relay".into(),
        kind: Kind::Own,
        connections: None,
        per_second: Some(100.0),
        per_minute: None,
        per_hour: None,
        per_day: None,
    };
    // As two processes.
    let limiter = || Limiter::new(keyspace.clone(), house.stage.pool.clone(), house.stage.clock.clone());
    let limiters = [limiter(), limiter()];
    let tills = limiters.each_ref().map(|limiter| limiter.till(std::slice::from_ref(&level)));
    let begun = Instant::now();
    let mut sold = 0_u32;
    for _ in 0..30 {
        for (limiter, till) in limiters.iter().zip(&tills) {
            while limiter.take(till).await.expect("Redis answers") == Take::Granted {
                sold += 1;
            }
        }
        house.flush_redis().await;
    }
    let most = begun.elapsed().as_secs_f64() * 100.0 + 20.0 + 30.0;
    assert!(f64::from(sold) <= most, "{sold} were sold, {most} may be: the rate, one burst, one token a flush");
    assert!(sold > 0, "and it does sell");
}
