//! Freezing the audience, and a person's second try.

use shared::{
    campaigns::{
        launch::{self, Launch},
        payload::RetryRecipients,
    },
    deliveries::{retry, sweep, tally},
    queue::{
        claim::{Claim, Lease},
        job::{self, Enqueue, Job},
        lane::Lane,
    },
    testing::Stage,
};
use uuid::Uuid;

async fn take(stage: &Stage) -> Job {
    let claim = Claim { lane: Lane::Bulk, owner: Uuid::now_v7(), lease_seconds: 20, destination_cap: 10, hint: None };
    claim.take(&stage.pool).await.unwrap().expect("a job")
}

fn lease_of(job: &Job) -> Lease {
    Lease { job_id: job.id, epoch: job.lease_epoch }
}

#[tokio::test]
async fn an_audience_is_frozen_slice_by_slice_and_each_recipient_is_in_one_chunk() {
    let mut stage = Stage::new().await;
    stage.settings.sending.launch_slice = 300;
    stage.settings.sending.chunk_recipients = 50;
    let fixture = stage.campaign(&[("orchard.test", 700), ("harbor.test", 90), ("meadow.test", 20)]).await;
    // A second list with the same people in it, and somebody who joined too late.
    let other = Uuid::now_v7();
    sqlx::query("INSERT INTO lists (id, workspace_id, name) VALUES ($1, $2, 'other')")
        .bind(other)
        .bind(fixture.workspace_id)
        .execute(&stage.pool)
        .await
        .unwrap();
    sqlx::query("INSERT INTO list_members (list_id, contact_id) SELECT $1, contact_id FROM list_members")
        .bind(other)
        .execute(&stage.pool)
        .await
        .unwrap();
    sqlx::query("UPDATE campaigns SET list_ids = list_ids || $1").bind(other).execute(&stage.pool).await.unwrap();
    stage.execute("UPDATE campaigns SET launched_at = clock_timestamp()").await;
    sqlx::query(
        "WITH late AS (INSERT INTO contacts (id, workspace_id, email) VALUES (uuid_v7(), $1, 'late@orchard.test') RETURNING id)
         INSERT INTO list_members (list_id, contact_id, joined_at) SELECT $2, id, clock_timestamp() + interval '1 minute' FROM late",
    )
    .bind(fixture.workspace_id)
    .bind(other)
    .execute(&stage.pool)
    .await
    .unwrap();
    stage.execute("UPDATE contacts SET state = 'unsubscribed' WHERE email LIKE 'sample-1@%'").await;
    let job = take(&stage).await;
    let mut steps = Vec::new();
    loop {
        let step = launch::slice(&stage.pool, lease_of(&job), fixture.campaign_id, &stage.settings.sending).await.unwrap();
        steps.push(step);
        if let Launch::Frozen(audience) = step {
            assert_eq!(audience, 807);
            break;
        }
    }
    assert_eq!(steps.len(), 3);
    let again = launch::slice(&stage.pool, lease_of(&job), fixture.campaign_id, &stage.settings.sending).await.unwrap();
    assert_eq!(again, Launch::Frozen(807), "twice changes nothing");
    let (chunks, recipients, distinct): (i64, i64, i64) = sqlx::query_as(
        "SELECT count(DISTINCT c.id), count(*), count(DISTINCT u.id) FROM chunks c CROSS JOIN unnest(c.contact_ids) AS u (id)",
    )
    .fetch_one(&stage.pool)
    .await
    .unwrap();
    assert_eq!((recipients, distinct), (807, 807));
    assert_eq!(
        stage.number("SELECT count(*) FROM jobs WHERE kind = 'SendChunk' AND campaign_id = $1", fixture.campaign_id).await,
        chunks
    );
    let mixed: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT contact.domain FROM chunks c CROSS JOIN unnest(c.contact_ids) AS u (id) JOIN contacts contact ON contact.id = u.id
         WHERE c.destination = '' ORDER BY 1",
    )
    .fetch_all(&stage.pool)
    .await
    .unwrap();
    assert_eq!(mixed, ["harbor.test", "meadow.test"]);
}

#[tokio::test]
async fn a_launch_with_a_lost_lease_freezes_nobody() {
    let stage = Stage::new().await;
    let fixture = stage.campaign(&[("orchard.test", 100)]).await;
    let job = take(&stage).await;
    let stale = Lease { epoch: job.lease_epoch - 1, ..lease_of(&job) };
    assert!(launch::slice(&stage.pool, stale, fixture.campaign_id, &stage.settings.sending).await.is_err());
    assert_eq!(stage.number("SELECT count(*) FROM chunks", fixture.campaign_id).await, 0);
}

#[tokio::test]
async fn an_audience_of_a_whole_number_of_slices_is_frozen_too() {
    let mut stage = Stage::new().await;
    stage.settings.sending.launch_slice = 50;
    let fixture = stage.campaign(&[("orchard.test", 100)]).await;
    let job = take(&stage).await;
    let mut last = Launch::Over;
    for _ in 0..3 {
        last = launch::slice(&stage.pool, lease_of(&job), fixture.campaign_id, &stage.settings.sending).await.unwrap();
    }
    assert_eq!(last, Launch::Frozen(100));
}

#[tokio::test]
async fn the_failed_are_tried_again_when_a_person_says_so() {
    let stage = Stage::new().await;
    let fixture = stage.campaign(&[("orchard.test", 3)]).await;
    let job = take(&stage).await;
    launch::slice(&stage.pool, lease_of(&job), fixture.campaign_id, &stage.settings.sending).await.unwrap();
    stage.execute("UPDATE jobs SET state = 'succeeded', finished_at = now(), lease_owner = NULL, lease_until = NULL WHERE kind = 'LaunchCampaign'").await;
    stage.execute("UPDATE jobs SET state = 'dead', finished_at = now() WHERE kind = 'SendChunk'").await;
    shared::deliveries::chunk::settle_orphans(&stage.pool).await.unwrap();
    let mut connection = stage.pool.acquire().await.unwrap();
    let payload = RetryRecipients { campaign_id: fixture.campaign_id, state: "failed".to_owned() };
    job::enqueue(&mut connection, &payload, Enqueue::default()).await.unwrap();
    let job = take(&stage).await;
    assert_eq!(retry::reopen(&stage.pool, lease_of(&job), fixture.campaign_id, "failed").await.unwrap(), 3);
    assert_eq!(sweep::deferred(&stage.pool, &stage.settings.sending).await.unwrap().due, 3);
    let tally = tally::count(&stage.pool, fixture.campaign_id).await.unwrap();
    assert_eq!((tally.failed, tally.deferred), (0, 3));
}
