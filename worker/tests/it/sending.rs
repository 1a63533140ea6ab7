//! Campaigns from launch to balance.

use shared::queue::lane::Lane;

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
