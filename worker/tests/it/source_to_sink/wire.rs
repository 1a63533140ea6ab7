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
