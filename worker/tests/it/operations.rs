//! What an operator does, and what the workers make of it.

use shared::{
    operations::{
        installation, report,
        sending::{self, Hold},
        stuck,
    },
    queue::lane::Lane,
};

use crate::house::House;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_house_starts_no_message_and_goes_on_when_it_is_resumed() {
    let house = House::new().await;
    house.sink.settings.delay_ms.store(20, std::sync::atomic::Ordering::Relaxed);
    let campaign = house.stage.campaign(&[("orchard.test", 1500), ("harbor.test", 200)]).await.campaign_id;
    let worker = house.worker(&[(Lane::Bulk, 4)]).await;
    house.until(campaign, "some are accepted", |tally| tally.accepted >= 100).await;
    let mut connection = house.stage.pool.acquire().await.expect("a connection");
    sending::pause(&mut connection, false, Some("a drill")).await.expect("paused");
    // The guide has seen it, every running turn is over, and no claim gives out another chunk.
    let still = house.until_still(&worker).await;
    let paused = house.tally(campaign).await;
    assert_eq!((paused.in_flight, paused.unknown), (0, 0), "{paused:?}");
    assert!(paused.accepted < 1700, "there is something left to hold back: {paused:?}");
    assert_eq!(worker.desk().serve(Lane::Bulk, &[]).await, 0);
    assert_eq!(house.sink.counts.stats().received, still);
    assert!(sending::resume(&mut connection).await.expect("resumed"));
    let tally = house.until_finished(campaign).await;
    worker.stop().await;
    assert_eq!((tally.accepted, tally.unknown), (1700, 0));
    assert_eq!(house.sink.counts.stats().duplicates, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_backup_sends_nothing_until_it_is_confirmed() {
    let mut house = House::new().await;
    let campaign = house.stage.campaign(&[("orchard.test", 300)]).await.campaign_id;
    house.stage = house.stage.restored().await;
    let worker = house.worker(&[(Lane::Bulk, 4), (Lane::Critical, 1)]).await;
    assert_eq!(worker.desk().post.guide.hold(), Some(Hold::Restored), "known before the first ticket is served");
    for _ in 0..5 {
        assert_eq!(worker.desk().serve(Lane::Bulk, &[]).await, 0);
    }
    let picture = stuck::picture(&house.stage.pool, &house.stage.settings).await.expect("a picture");
    assert_eq!(picture.hold, Some(Hold::Restored));
    let text = report::of(&picture);
    assert!(text.contains("that nobody has confirmed") && text.contains("mochila-worker confirm-restore"), "{text}");
    assert_eq!(house.stage.number("SELECT count(*) FROM chunks WHERE campaign_id = $1", campaign).await, 0);
    assert_eq!(house.sink.counts.stats().received, 0);
    assert!(installation::confirm(&house.stage.pool).await.expect("confirmed"));
    let tally = house.until_finished(campaign).await;
    worker.stop().await;
    assert_eq!(tally.accepted, 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_exchanged_for_a_backup_under_its_workers_sends_no_more() {
    let house = House::new().await;
    house.sink.settings.delay_ms.store(50, std::sync::atomic::Ordering::Relaxed);
    let campaign = house.stage.campaign(&[("orchard.test", 1500)]).await.campaign_id;
    let worker = house.worker(&[(Lane::Bulk, 2)]).await;
    house.until(campaign, "some are accepted", |tally| tally.accepted >= 50).await;
    // What a restore over a running house comes to: every connection ends, and what answers then is a copy.
    house
        .stage
        .execute(
            "UPDATE installation SET timeline = timeline - 1, written_by = pg_current_xact_id()::text::bigint % 4294967296;
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
    let still = house.until_still(&worker).await;
    assert!(still < 1500);
    assert_eq!(worker.desk().post.guide.hold(), Some(Hold::Restored));
    installation::confirm(&house.stage.pool).await.expect("confirmed");
    let tally = house.until_finished(campaign).await;
    worker.stop().await;
    assert_eq!(tally.accepted + tally.unknown, 1500, "{tally:?}");
    assert_eq!(house.sink.counts.stats().duplicates, 0);
}
