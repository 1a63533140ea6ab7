//! What is on the wire, octet by octet.

use std::sync::atomic::Ordering::Relaxed;

use shared::queue::lane::Lane;

use super::{patient, summary};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_offers_nothing_gets_seven_bits_and_crlf() {
    let house = patient().await;
    house.sink.settings.offers_nothing.store(true, Relaxed);
    let campaign = house.stage.campaign(&[("orchard.test", 2)]).await.campaign_id;
    house
        .stage
        .arrange(format!(
            "UPDATE campaigns SET subject = 'Frühling 春', from_name = 'Zoë', html = E'<p>für {{{{ contact.name }}}} 春\r\n.\n\r.\n</p>', \
             text = E'a\rb\nc\r\n.\r\nd é' WHERE id = '{campaign}'; UPDATE contacts SET name = 'Zoë 春'"
        ))
        .await;
    let worker = house.worker(&[(Lane::Bulk, 1)]).await;
    house.until_finished(campaign).await;
    worker.stop().await;
    insta::assert_snapshot!(summary(&house, campaign).await, @r"
    2 accepted 250 2.0.0 in 1 attempt
    sink: received 2, twice 0, 4xx 0, 5xx 0, protocol errors 0
    ");
    for mail in house.sink.counts.received() {
        assert!(mail.bytes.is_ascii());
        let text = String::from_utf8(mail.bytes).expect("ASCII");
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{text:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_in_another_script_goes_to_a_server_with_smtputf8_and_fails_elsewhere() {
    let house = patient().await;
    let mut told = Vec::new();
    for offers_nothing in [false, true] {
        house.sink.settings.offers_nothing.store(offers_nothing, Relaxed);
        let campaign = house.stage.campaign(&[("orchard.test", 2)]).await.campaign_id;
        house
            .stage
            .arrange("UPDATE contacts SET email = '用户@orchard.test' WHERE email = 'sample-1@orchard.test'".to_owned())
            .await;
        // A new worker, which has no connection yet that knows what the server offered.
        let worker = house.worker(&[(Lane::Bulk, 1)]).await;
        house.until_finished(campaign).await;
        worker.stop().await;
        told.push(summary(&house, campaign).await);
    }
    insta::assert_snapshot!(told.join("\n"), @r"
    2 accepted 250 2.0.0 in 1 attempt
    sink: received 2, twice 0, 4xx 0, 5xx 0, protocol errors 0
    1 accepted 250 2.0.0 in 1 attempt
    1 failed 5.6.7 (address) in 1 attempt
    sink: received 3, twice 0, 4xx 0, 5xx 0, protocol errors 0
    ");
    let mails: Vec<String> =
        house.sink.counts.received().into_iter().map(|mail| String::from_utf8(mail.bytes).expect("UTF-8")).collect();
    assert_eq!(mails.iter().filter(|mail| mail.contains("To: Sample 1 <用户@orchard.test>\r\n")).count(), 1);
    assert_eq!(mails.iter().filter(|mail| mail.is_ascii()).count(), 2);
}
