//! Servers without STARTTLS, and with one that does not work.

use std::sync::atomic::Ordering::Relaxed;

use shared::queue::lane::Lane;

use super::{patient, send, summary};
use crate::house::House;

/// Sends while TLS is required, which this server cannot do, until that was found out; then without.
async fn required_and_then_not(house: &House) -> String {
    house.stage.execute("UPDATE routes SET tls = 'required'").await;
    let campaign = house.stage.campaign(&[("orchard.test", 3)]).await.campaign_id;
    let worker = house.worker(&[(Lane::Bulk, 2)]).await;
    let mut looks = 0;
    while house.sink.counts.stats().connections_total == 0 {
        looks += 1;
        assert!(looks < 600, "the server is not asked");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(house.sink.counts.stats().received, 0, "nothing leaves in plain text");
    house.stage.execute("UPDATE routes SET tls = 'opportunistic'").await;
    house.until_finished(campaign).await;
    worker.stop().await;
    summary(house, campaign).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_starttls_nothing_leaves_where_encryption_is_required() {
    let house = patient().await;
    insta::assert_snapshot!(required_and_then_not(&house).await, @r"
    3 accepted 250 2.0.0 in 1 attempt
    sink: received 3, twice 0, 4xx 0, 5xx 0, protocol errors 0
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_handshake_lets_nothing_out_where_encryption_is_required() {
    let house = patient().await;
    house.sink.settings.broken_tls.store(true, Relaxed);
    insta::assert_snapshot!(required_and_then_not(&house).await, @r"
    3 accepted 250 2.0.0 in 1 attempt
    sink: received 3, twice 0, 4xx 0, 5xx 0, protocol errors 0
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_handshake_is_followed_by_plain_text_where_that_is_allowed() {
    let house = patient().await;
    house.sink.settings.broken_tls.store(true, Relaxed);
    house.stage.execute("UPDATE routes SET tls = 'opportunistic'").await;
    insta::assert_snapshot!(send(&house, &[("orchard.test", 3)]).await, @r"
    3 accepted 250 2.0.0 in 1 attempt
    sink: received 3, twice 0, 4xx 0, 5xx 0, protocol errors 0
    ");
}
