//! Who is next: workspaces, campaigns, destinations.

use shared::{
    campaigns::launch::{self, Launch},
    queue::{
        bell,
        claim::{Claim, Lease},
        job::Job,
        lane::Lane,
    },
    testing::{Fixture, Stage},
};
use uuid::Uuid;

async fn take(stage: &Stage, destination_cap: i32) -> Option<Job> {
    let claim = Claim { lane: Lane::Bulk, owner: Uuid::now_v7(), lease_seconds: 20, destination_cap, hint: None };
    claim.take(&stage.pool).await.unwrap()
}

/// Launches it, and answers with its chunks in line.
async fn launched(stage: &Stage, audience: &[(&str, i32)]) -> Fixture {
    let fixture = stage.campaign(audience).await;
    let job = take(stage, 1000).await.expect("the launch");
    assert_eq!(job.kind, "LaunchCampaign");
    let lease = Lease { job_id: job.id, epoch: job.lease_epoch };
    let total: i32 = audience.iter().map(|(_, n)| n).sum();
    let frozen = launch::slice(&stage.pool, lease, fixture.campaign_id, &stage.settings.sending).await.unwrap();
    assert_eq!(frozen, Launch::Frozen(i64::from(total)));
    stage.execute("UPDATE jobs SET state = 'succeeded', finished_at = now(), lease_owner = NULL, lease_until = NULL WHERE kind = 'LaunchCampaign'").await;
    fixture
}

#[tokio::test]
async fn a_small_campaign_behind_a_huge_one_is_next() {
    let mut stage = Stage::new().await;
    stage.settings.sending.chunk_recipients = 10;
    let huge = launched(&stage, &[("orchard.test", 2_000)]).await;
    for _ in 0..20 {
        assert_eq!(take(&stage, 1000).await.unwrap().campaign_id, Some(huge.campaign_id));
    }
    let small = launched(&stage, &[("harbor.test", 50)]).await;
    let mut until_small_is_done = 0;
    let mut left = 5;
    while left > 0 {
        let job = take(&stage, 1000).await.unwrap();
        until_small_is_done += 1;
        left -= i32::from(job.campaign_id == Some(small.campaign_id));
    }
    assert!(until_small_is_done <= 11, "turn by turn, not after the huge one: {until_small_is_done} claims");
}

#[tokio::test]
async fn many_campaigns_of_one_workspace_get_no_more_than_one_of_another() {
    let mut stage = Stage::new().await;
    stage.settings.sending.chunk_recipients = 10;
    let many = launched(&stage, &[("orchard.test", 400)]).await;
    for _ in 0..3 {
        let other = launched(&stage, &[("orchard.test", 400)]).await;
        for table in
            ["UPDATE jobs SET workspace_id = $1 WHERE campaign_id = $2", "UPDATE campaigns SET workspace_id = $1 WHERE id = $2"]
        {
            sqlx::query(table).bind(many.workspace_id).bind(other.campaign_id).execute(&stage.pool).await.unwrap();
        }
    }
    let one = launched(&stage, &[("harbor.test", 400)]).await;
    let mut turns = 0;
    for _ in 0..40 {
        turns += i32::from(take(&stage, 1000).await.unwrap().workspace_id == Some(one.workspace_id));
    }
    assert!((19..=21).contains(&turns), "half of the claims, not a fifth: {turns} of 40");
}

#[tokio::test]
async fn a_slow_destination_never_has_more_than_its_cap_and_holds_nobody_up() {
    let mut stage = Stage::new().await;
    stage.settings.sending.chunk_recipients = 100;
    launched(&stage, &[("tarpit.test", 2_000), ("orchard.test", 300)]).await;
    let mut taken = Vec::new();
    while let Some(job) = take(&stage, 2).await {
        taken.push(job.destination);
    }
    assert_eq!(taken.iter().filter(|d| *d == "tarpit.test").count(), 2);
    assert_eq!(taken.iter().filter(|d| *d == "orchard.test").count(), 2);
    assert_eq!(bell::claimable(&stage.pool, Lane::Bulk, 2, 100).await.unwrap(), 0, "nobody is rung for the rest");
}

#[tokio::test]
async fn concurrent_claims_never_exceed_a_cap() {
    let mut stage = Stage::new().await;
    stage.settings.sending.chunk_recipients = 100;
    launched(&stage, &[("tarpit.test", 2_000)]).await;
    let claims = futures::future::join_all((0..10).map(|_| take(&stage, 3))).await;
    assert_eq!(claims.into_iter().flatten().count(), 3);
}

#[tokio::test]
async fn paused_campaigns_cooling_and_suspended_destinations_are_passed_over() {
    let mut stage = Stage::new().await;
    stage.settings.sending.chunk_recipients = 100;
    launched(&stage, &[("cooling.test", 200), ("suspended.test", 200), ("orchard.test", 200)]).await;
    let paused = launched(&stage, &[("harbor.test", 200)]).await;
    sqlx::query("UPDATE campaigns SET state = 'paused' WHERE id = $1").bind(paused.campaign_id).execute(&stage.pool).await.unwrap();
    stage
        .execute(
            "INSERT INTO destinations (domain, cooldown_until) VALUES ('cooling.test', now() + interval '1 minute');
             INSERT INTO destinations (domain, suspended_until) VALUES ('suspended.test', now() + interval '1 minute')",
        )
        .await;
    assert_eq!(bell::claimable(&stage.pool, Lane::Bulk, 10, 100).await.unwrap(), 2);
    let mut taken = Vec::new();
    while let Some(job) = take(&stage, 10).await {
        taken.push(job.destination);
    }
    assert_eq!(taken, ["orchard.test", "orchard.test"]);
    stage
        .execute("UPDATE destinations SET cooldown_until = now() - interval '1 second'; UPDATE campaigns SET state = 'sending'")
        .await;
    assert_eq!(bell::claimable(&stage.pool, Lane::Bulk, 10, 100).await.unwrap(), 4);
}

#[tokio::test]
async fn twelve_thousand_due_jobs_at_once_are_claimed_like_any_other() {
    let stage = Stage::new().await;
    stage
        .execute(
            "INSERT INTO jobs (id, kind, lane, flow, state, run_at, payload)
             SELECT uuid_v7(), 'SampleJob', 'maintenance', 'flow ' || n % 40, 'scheduled', now(), '{}' FROM generate_series(1, 12000) n",
        )
        .await;
    let mut promoted = 0;
    while promoted < 12_000 {
        promoted += bell::promote(&stage.pool).await.unwrap();
    }
    assert_eq!(bell::claimable(&stage.pool, Lane::Maintenance, 2, 2_000).await.unwrap(), 2_000);
    let mut flows = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..80 {
        let claim = Claim { lane: Lane::Maintenance, owner: Uuid::now_v7(), lease_seconds: 20, destination_cap: 2, hint: None };
        *flows.entry(claim.take(&stage.pool).await.unwrap().unwrap().flow).or_default() += 1;
    }
    assert_eq!((flows.len(), flows.values().max()), (40, Some(&2)), "every flow has had two turns");
}
