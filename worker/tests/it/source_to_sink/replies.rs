//! Servers whose answers are refusals, or odd.

use std::sync::atomic::Ordering::Relaxed;

use super::{patient, send};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_temporary_failure_is_followed_by_acceptance() {
    let house = patient().await;
    insta::assert_snapshot!(send(&house, &[("greylist.test", 5)]).await, @r"
    5 accepted 250 2.0.0 in 2 attempts
    sink: received 5, twice 0, 4xx 5, 5xx 0, protocol errors 0
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hard_failure_is_one_recipients_alone() {
    let house = patient().await;
    insta::assert_snapshot!(send(&house, &[("orchard.test", 5), ("bounce.test", 2), ("reject.test", 1)]).await, @r"
    1 failed 554 5.7.1 (policy) in 1 attempt
    2 bounced 550 5.1.1 (address) in 1 attempt
    5 accepted 250 2.0.0 in 1 attempt
    sink: received 5, twice 0, 4xx 0, 5xx 3, protocol errors 0
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_that_stays_full_expires() {
    let mut house = patient().await;
    house.stage.settings.sending.retry.expire_seconds = 0.5;
    let summary = send(&house, &[("full.test", 2)]).await;
    assert!(summary.starts_with("2 failed 452 4.2.2 (expired) in "), "{summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_no_rfc_lists_counts_by_its_first_digit() {
    let house = patient().await;
    insta::assert_snapshot!(send(&house, &[("571.test", 2)]).await, @r"
    2 failed 571 (policy) in 1 attempt
    sink: received 0, twice 0, 4xx 0, 5xx 2, protocol errors 0
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_that_are_not_utf8_or_64_kb_long_are_read() {
    let house = patient().await;
    insta::assert_snapshot!(send(&house, &[("latin.test", 3), ("long.test", 3)]).await, @r"
    6 accepted 250 2.0.0 in 1 attempt
    sink: received 6, twice 0, 4xx 0, 5xx 0, protocol errors 0
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tarpit_is_waited_for() {
    let house = patient().await;
    house.sink.settings.tarpit_ms.store(300, Relaxed);
    insta::assert_snapshot!(send(&house, &[("tarpit.test", 6)]).await, @r"
    6 accepted 250 2.0.0 in 1 attempt
    sink: received 6, twice 0, 4xx 0, 5xx 0, protocol errors 0
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reply_to_the_dot_leaves_doubt_and_no_second_mail() {
    let mut house = patient().await;
    house.stage.settings.sending.timeouts.final_dot = 1;
    insta::assert_snapshot!(send(&house, &[("mute.test", 2), ("orchard.test", 2)]).await, @r"
    2 accepted 250 2.0.0 in 1 attempt
    2 unknown (no reply to the final dot) in 1 attempt
    sink: received 4, twice 0, 4xx 0, 5xx 0, protocol errors 0
    ");
}
