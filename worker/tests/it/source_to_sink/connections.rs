//! Servers that take no connection, or do not keep it.

use std::sync::atomic::Ordering::Relaxed;

use shared::queue::lane::Lane;

use super::{patient, send, summary};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_421_instead_of_the_banner_costs_nobody_an_attempt() {
    let house = patient().await;
    house.sink.settings.banner_code.store(421, Relaxed);
    let campaign = house.stage.campaign(&[("orchard.test", 5)]).await.campaign_id;
    let worker = house.worker(&[(Lane::Bulk, 2)]).await;
    let mut looks = 0;
    while house.sink.counts.stats().connections_total < 3 {
        looks += 1;
        assert!(looks < 600, "the server is not asked again");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    house.sink.settings.banner_code.store(220, Relaxed);
    house.until_finished(campaign).await;
    worker.stop().await;
    insta::assert_snapshot!(summary(&house, campaign).await, @r"
    5 accepted 250 2.0.0 in 1 attempt
    sink: received 5, twice 0, 4xx 0, 5xx 0, protocol errors 0
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_421_on_a_reused_connection_costs_nobody_an_attempt() {
    let house = patient().await;
    house.sink.settings.most_messages.store(3, Relaxed);
    insta::assert_snapshot!(send(&house, &[("orchard.test", 20)]).await, @r"
    20 accepted 250 2.0.0 in 1 attempt
    sink: received 20, twice 0, 4xx 0, 5xx 0, protocol errors 0
    ");
    let connections = house.sink.counts.stats().connections_total;
    assert!(connections >= 7, "few messages a connection: {connections} connections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_that_closes_reused_connections_gets_its_mail_over_fresh_ones() {
    let house = patient().await;
    // There the 421 is an answer to the message: how often it is tried depends on who shares a connection.
    let summary = send(&house, &[("reused.test", 6)]).await;
    let accepted: u32 = summary.lines().filter_map(|line| line.split_once(" accepted 250")?.0.parse::<u32>().ok()).sum();
    assert!(accepted == 6 && summary.contains("received 6, twice 0"), "{summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_ends_in_data_has_sent_nothing() {
    let house = patient().await;
    insta::assert_snapshot!(send(&house, &[("drop.test", 4)]).await, @r"
    4 accepted 250 2.0.0 in 2 attempts
    sink: received 4, twice 0, 4xx 0, 5xx 0, protocol errors 0
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_banner_is_waited_for() {
    let house = patient().await;
    house.sink.settings.banner_ms.store(400, Relaxed);
    insta::assert_snapshot!(send(&house, &[("orchard.test", 4)]).await, @r"
    4 accepted 250 2.0.0 in 1 attempt
    sink: received 4, twice 0, 4xx 0, 5xx 0, protocol errors 0
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_connections_are_not_insisted_on() {
    let house = patient().await;
    house.sink.settings.most_connections.store(2, Relaxed);
    insta::assert_snapshot!(send(&house, &[("orchard.test", 60)]).await, @r"
    60 accepted 250 2.0.0 in 1 attempt
    sink: received 60, twice 0, 4xx 0, 5xx 0, protocol errors 0
    ");
}
