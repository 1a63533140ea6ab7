//! Campaigns from launch to balance.

use std::{sync::atomic::Ordering, time::Duration};

use futures::FutureExt;
use shared::{
    accounts::scope::Scope,
    campaigns::transitions,
    deliveries::tally::Tally,
    keyspace::Keyspace,
    queue::{lane::Lane, ticket::Tickets},
};

use crate::house::House;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_gets_one_mail_and_the_campaign_balances() {
    let house = House::new().await;
    let campaign =
        house.stage.campaign(&[("orchard.test", 1200), ("harbor.test", 300), ("bounce.test", 40), ("long.test", 3)]).await;
    let worker = house.worker(&[(Lane::Bulk, 4)]).await;
    let tally = house.until_finished(campaign.campaign_id).await;
    worker.stop().await;
    assert_eq!((tally.audience, tally.accepted, tally.bounced), (Some(1543), 1503, 40));
    let stats = house.sink.counts.stats();
    assert_eq!((stats.received, stats.duplicates), (1503, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_redis_loses_nobody_and_doubles_nobody() {
    let house = House::new().await;
    house.sink.settings.delay_ms.store(20, Ordering::Relaxed);
    let campaign = house.stage.campaign(&[("orchard.test", 1500), ("harbor.test", 500)]).await.campaign_id;
    let worker = house.worker(&[(Lane::Bulk, 4)]).await;
    for threshold in [200, 800] {
        house.until(campaign, "some are accepted", |tally| tally.accepted >= threshold).await;
        house.flush_redis().await;
    }
    let tally = house.until_finished(campaign).await;
    worker.stop().await;
    assert_eq!((tally.accepted, tally.unknown), (2000, 0));
    assert_eq!(house.sink.counts.stats().duplicates, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_forged_tickets_are_no_ops() {
    let house = House::new().await;
    let keyspace = Keyspace::new(&house.stage.settings.redis).unwrap();
    house.garbage_tickets(Lane::Bulk).await;
    let campaign = house.stage.campaign(&[("orchard.test", 300)]).await.campaign_id;
    let worker = house.worker(&[(Lane::Bulk, 2)]).await;
    Tickets::new(keyspace).ring(Lane::Bulk, 100).await.unwrap();
    house.garbage_tickets(Lane::Bulk).await;
    let tally = house.until_finished(campaign).await;
    worker.stop().await;
    assert_eq!(tally.accepted, 300);
    assert_eq!(house.sink.counts.stats().duplicates, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_ticket_serves_until_nothing_is_left_and_what_waits_is_not_tried_again_and_again() {
    let mut house = House::new().await;
    house.stage.settings.queue.bell_ms = 3_600_000;
    house.stage.settings.sending.chunk_recipients = 50;
    let worker = house.worker(&[(Lane::Bulk, 1)]).await;
    let campaign = house.stage.campaign(&[("orchard.test", 50), ("harbor.test", 50), ("meadow.test", 50)]).await.campaign_id;
    // One ticket for the launch and three chunks, and perhaps the one of the bell's only stroke.
    assert!(worker.desk().serve(Lane::Bulk, &[]).await > 0);
    assert_eq!(house.until_finished(campaign).await.accepted, 150);

    house.stage.execute("UPDATE routes SET disabled_at = now()").await;
    worker.desk().post.guide.look().await.expect("a look");
    house.stage.campaign(&[("orchard.test", 50), ("harbor.test", 50)]).await;
    let mut served = Vec::new();
    for _ in 0..3 {
        served.push(worker.desk().serve(Lane::Bulk, &[]).await);
    }
    worker.stop().await;
    assert_eq!(served, [2, 1, 0], "the launch and a chunk that waits, the other chunk, nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_with_two_bells_and_two_sweepers_send_to_each_once() {
    let house = House::new().await;
    let campaign = house.stage.campaign(&[("orchard.test", 900), ("greylist.test", 200), ("flaky.test", 100)]).await.campaign_id;
    let (first, second) = (house.worker(&[(Lane::Bulk, 3)]).await, house.worker(&[(Lane::Bulk, 3)]).await);
    let tally = house.until_finished(campaign).await;
    first.stop().await;
    second.stop().await;
    assert_eq!((tally.accepted, tally.unknown, tally.failed), (1200, 0, 0));
    let stats = house.sink.counts.stats();
    assert_eq!((stats.unique_message_ids, stats.duplicates), (1200, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_asked_to_stop_leaves_nobody_in_doubt_and_another_goes_on() {
    let house = House::new().await;
    house.sink.settings.delay_ms.store(30, Ordering::Relaxed);
    let campaign = house.stage.campaign(&[("orchard.test", 1000)]).await.campaign_id;
    let worker = house.worker(&[(Lane::Bulk, 4)]).await;
    house.until(campaign, "some are accepted", |tally| tally.accepted >= 100).await;
    worker.stop().await;
    let stopped = house.tally(campaign).await;
    assert_eq!((stopped.in_flight, stopped.unknown), (0, 0), "{stopped:?}");
    assert!(stopped.accepted < 1000);
    assert_eq!(house.connections_taken().await, 0, "who starts next finds every connection of the route free");
    let received = house.sink.counts.stats().received;
    assert_eq!(i64::try_from(received).unwrap(), stopped.accepted);
    let worker = house.worker(&[(Lane::Bulk, 4)]).await;
    let tally = house.until_finished(campaign).await;
    worker.stop().await;
    assert_eq!((tally.accepted, house.sink.counts.stats().duplicates), (1000, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_the_wire_at_the_shutdown_deadline_is_recorded_as_in_doubt() {
    let mut house = House::new().await;
    house.stage.settings.worker.drain_seconds = 1;
    house.sink.settings.delay_ms.store(60_000, Ordering::Relaxed);
    let campaign = house.stage.campaign(&[("orchard.test", 500)]).await.campaign_id;
    let worker = house.worker(&[(Lane::Bulk, 2)]).await;
    let sink = house.sink.counts.clone();
    // A connection counts for the domain once it has named a recipient there.
    let begun = move || sink.stats().domains.get("orchard.test").map_or(0, |domain| domain.connections_open);
    let all_wires_wait = |tally: &Tally| tally.in_flight == 8 && begun() == 2;
    house.until(campaign, "every window is full", all_wires_wait).await;
    worker.stop().await;
    let tally = house.tally(campaign).await;
    assert_eq!(tally.in_flight, 0, "{tally:?}");
    assert!((1..=2).contains(&tally.unknown), "one a connection: {tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pause_holds_resume_goes_on_and_cancel_gives_the_rest_a_state() {
    let house = House::new().await;
    house.sink.settings.delay_ms.store(30, Ordering::Relaxed);
    let fixture = house.stage.campaign(&[("orchard.test", 3000)]).await;
    let (campaign, scope) = (fixture.campaign_id, Scope::client(fixture.workspace_id));
    let worker = house.worker(&[(Lane::Bulk, 4)]).await;
    house.until(campaign, "some are accepted", |tally| tally.accepted >= 100).await;
    house.change(|connection| transitions::pause(connection, scope, campaign).boxed()).await;
    house.until(campaign, "the wire is empty", |tally| tally.in_flight == 0).await;
    let paused = house.sink.counts.stats().received;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(house.sink.counts.stats().received, paused, "nothing is started while it is paused");
    house.change(|connection| transitions::resume(connection, scope, campaign).boxed()).await;
    house.until(campaign, "it goes on", |tally| tally.accepted >= i64::try_from(paused).unwrap() + 100).await;
    house.change(|connection| transitions::cancel(connection, scope, campaign).boxed()).await;
    let tally = house.until(campaign, "everybody has a state", |tally| tally.pending + tally.in_flight + tally.deferred == 0).await;
    worker.stop().await;
    assert!(tally.cancelled > 0 && tally.accepted < 3000, "{tally:?}");
    assert_eq!((tally.unknown, house.sink.counts.stats().duplicates), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tarpit_and_a_throttled_domain_hold_nobody_else_up() {
    let house = House::new().await;
    house.sink.settings.tarpit_ms.store(2_000, Ordering::Relaxed);
    house.stage.execute("INSERT INTO destinations (domain, rate_per_second) VALUES ('throttled.test', 5)").await;
    let campaign = house.stage.campaign(&[("tarpit.test", 2_500), ("throttled.test", 2_500)]).await.campaign_id;
    let worker = house.worker(&[(Lane::Bulk, 6)]).await;
    house.until(campaign, "the slow ones are under way", |tally| tally.accepted > 0).await;
    let quick = house.stage.campaign(&[("orchard.test", 600)]).await.campaign_id;
    let tally = house.until_finished(quick).await;
    assert_eq!(tally.accepted, 600);
    let running = house
        .stage
        .number("SELECT coalesce(max(n), 0)::bigint FROM (SELECT count(*) AS n FROM jobs WHERE state = 'running' AND destination <> '' GROUP BY destination) t", campaign)
        .await;
    assert!(running <= 2, "never more than its cap of slots: {running}");
    let slow = house.tally(campaign).await;
    assert!(slow.pending > 4_000, "the slow ones are far from done: {slow:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_borrows_connections_that_stand_idle_and_gives_them_back_when_somebody_comes() {
    let mut house = House::new().await;
    house.stage.settings.sending.chunk_recipients = 5_000;
    house.sink.settings.delay_ms.store(50, Ordering::Relaxed);
    let long = house.stage.campaign(&[("orchard.test", 5_000)]).await.campaign_id;
    // Each of eight slots has two of the sixteen connections.
    let worker = house.worker(&[(Lane::Bulk, 8)]).await;
    let counts = house.sink.counts.clone();
    let peak = |domain: &str| counts.stats().domains.get(domain).map_or(0, |domain| domain.connections_peak);
    house.until(long, "all are used but the next one's", |_| peak("orchard.test") >= 14).await;
    assert_eq!(peak("orchard.test"), 14);

    let mut others = Vec::new();
    for domain in ["harbor.test", "meadow.test", "quarry.test"] {
        others.push((domain, house.stage.campaign(&[(domain, 16)]).await.campaign_id));
    }
    for (domain, other) in others {
        assert_eq!(house.until_finished(other).await.accepted, 16, "{domain}");
        assert!(peak(domain) <= 2, "no more than its share: {domain}");
    }
    assert!(counts.stats().connections_open <= 16);
    let tally = house.tally(long).await;
    worker.stop().await;
    assert!(tally.pending > 1_000, "the long one did not have to end first: {tally:?}");
    assert_eq!(counts.stats().duplicates, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_become_outcomes_and_the_hopeless_expire() {
    let mut house = House::new().await;
    house.stage.settings.sending.retry.expire_seconds = 2.0;
    // Ten connections in a row that end at DATA are no reason to wait here: everybody would expire.
    house.stage.settings.sending.breaker.failures = 1_000;
    let campaign = house
        .stage
        .campaign(&[
            ("orchard.test", 50),
            ("bounce.test", 20),
            ("reject.test", 5),
            ("full.test", 10),
            ("571.test", 3),
            ("drop.test", 10),
            ("latin.test", 3),
        ])
        .await
        .campaign_id;
    let worker = house.worker(&[(Lane::Bulk, 4)]).await;
    let tally = house.until_finished(campaign).await;
    worker.stop().await;
    let reasons =
        house.stage.number("SELECT count(*) FROM deliveries WHERE campaign_id = $1 AND reason = 'expired'", campaign).await;
    assert_eq!(reasons, 10, "full mailboxes");
    assert_eq!((tally.bounced, tally.unknown), (20, 0), "{tally:?}");
    assert_eq!(tally.accepted + tally.failed, 81, "{tally:?}");
    assert_eq!(house.sink.counts.stats().duplicates, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_without_an_answer_to_its_final_dot_is_in_doubt_and_not_sent_again() {
    let mut house = House::new().await;
    house.stage.settings.sending.timeouts.final_dot = 1;
    let campaign = house.stage.campaign(&[("orchard.test", 50), ("mute.test", 5)]).await.campaign_id;
    let worker = house.worker(&[(Lane::Bulk, 4)]).await;
    let tally = house.until_finished(campaign).await;
    worker.stop().await;
    assert_eq!((tally.accepted, tally.unknown), (50, 5));
    let stats = house.sink.counts.stats();
    assert_eq!((stats.received, stats.duplicates), (55, 0));
    assert_eq!(
        house.stage.number("SELECT count(*) FROM campaigns WHERE id = $1 AND state = 'finished_with_failures'", campaign).await,
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_limits_hold_over_two_workers() {
    let house = House::new().await;
    house.stage.execute("INSERT INTO destinations (domain, rate_per_second, max_connections) VALUES ('limited.test', 60, 3)").await;
    let campaign = house.stage.campaign(&[("limited.test", 240)]).await.campaign_id;
    let (first, second) = (house.worker(&[(Lane::Bulk, 3)]).await, house.worker(&[(Lane::Bulk, 3)]).await);
    let tally = house.until_finished(campaign).await;
    first.stop().await;
    second.stop().await;
    assert_eq!(tally.accepted, 240);
    let stats = house.sink.counts.stats();
    assert!(stats.domains["limited.test"].connections_peak <= 3, "{:?}", stats.domains);
    let seconds = house.sink.counts.seconds("limited.test").unwrap();
    let most = seconds.iter().map(|(_, received)| *received).max().unwrap();
    assert!(most <= 60 + 12 + 2 * 6, "rate, burst, and what each of the two had bought just before: {seconds:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_tenants_small_campaign_finishes_before_a_huge_one_that_started_earlier() {
    let house = House::new().await;
    let huge = house.stage.campaign(&[("orchard.test", 150_000), ("harbor.test", 50_000)]).await.campaign_id;
    let worker = house.worker(&[(Lane::Bulk, 4)]).await;
    house.until(huge, "the huge one is frozen and under way", |tally| tally.audience == Some(200_000) && tally.accepted > 0).await;
    let small = house.stage.campaign(&[("meadow.test", 1_000)]).await.campaign_id;
    let tally = house.until_finished(small).await;
    let behind = house.tally(huge).await;
    worker.stop().await;
    assert_eq!(tally.accepted, 1_000);
    assert!(behind.pending > 150_000, "the huge one is far from done: {behind:?}");
}

#[tokio::test]
async fn a_campaign_that_was_paused_and_resumed_while_nobody_sent_is_not_taken_for_stopped() {
    let stage = shared::testing::Stage::new().await;
    let campaign = stage.campaign(&[("orchard.test", 1)]).await.campaign_id;
    let vault = shared::vault::Vault::from_settings(&stage.settings.secrets).expect("a vault");
    let guide = std::sync::Arc::new(mochila_worker::sending::guide::Guide::new(stage.pool.clone(), vault));
    let watch = guide.watch(campaign);
    stage.execute("UPDATE campaigns SET state = 'paused'").await;
    guide.look().await.expect("a look");
    assert!(guide.is_stopped(campaign));
    drop(watch);
    stage.execute("UPDATE campaigns SET state = 'sending'").await;
    guide.look().await.expect("a look");
    let _watch = guide.watch(campaign);
    assert!(!guide.is_stopped(campaign), "before any look of the new run");
}
