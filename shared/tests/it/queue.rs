//! Claims, leases and what happens to jobs of the dead.

use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::{
    database,
    queue::{
        bell,
        claim::{self, Claim, Lease},
        fleet,
        job::{self, Enqueue, Job},
        lane::Lane,
        lease, outcome,
        outcome::Outcome,
        payload,
    },
    testing::Stage,
};
use uuid::Uuid;

#[derive(Serialize, Deserialize)]
struct SampleJob {
    number: i32,
}

impl payload::Job for SampleJob {
    const NAME: &'static str = "SampleJob";
    const LANE: Lane = Lane::Maintenance;
}

async fn enqueue(stage: &Stage, options: Enqueue) -> Uuid {
    let mut connection = stage.pool.acquire().await.unwrap();
    job::enqueue(&mut connection, &SampleJob { number: 1 }, options).await.unwrap()
}

fn claim(owner: Uuid) -> Claim {
    Claim { lane: Lane::Maintenance, owner, lease_seconds: 20, destination_cap: 2, hint: None }
}

fn lease_of(job: &Job) -> Lease {
    Lease { job_id: job.id, epoch: job.lease_epoch }
}

async fn state(stage: &Stage, id: Uuid) -> String {
    sqlx::query_scalar("SELECT state FROM jobs WHERE id = $1").bind(id).fetch_one(&stage.pool).await.unwrap()
}

#[tokio::test]
async fn a_job_is_claimed_once_and_a_stale_ticket_is_a_no_op() {
    let stage = Stage::new().await;
    let id = enqueue(&stage, Enqueue::default()).await;
    let owner = Uuid::now_v7();
    let claims = futures::future::join_all((0..8).map(|_| claim(owner).take(&stage.pool))).await;
    let taken: Vec<Job> = claims.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(taken.len(), 1);
    assert_eq!((taken[0].id, taken[0].lease_epoch), (id, 1));
    assert!(Claim { hint: Some(id), ..claim(owner) }.take(&stage.pool).await.unwrap().is_none());
    assert!(Claim { hint: Some(Uuid::now_v7()), ..claim(owner) }.take(&stage.pool).await.unwrap().is_none());
}

#[tokio::test]
async fn what_a_stale_run_writes_changes_nothing() {
    let stage = Stage::new().await;
    enqueue(&stage, Enqueue::default()).await;
    let first = claim(Uuid::now_v7()).take(&stage.pool).await.unwrap().unwrap();
    stage.execute("UPDATE jobs SET lease_until = now() - interval '1 second'").await;
    assert_eq!(lease::reconcile(&stage.pool, 0).await.unwrap().requeued, 1);
    let second = claim(Uuid::now_v7()).take(&stage.pool).await.unwrap().unwrap();
    assert_eq!(second.lease_epoch, 2);
    assert!(!outcome::end(&stage.pool, lease_of(&first), &Outcome::Succeeded(json!({}))).await.unwrap());
    assert_eq!(outcome::progress(&stage.pool, lease_of(&first), 5, None).await.unwrap(), None);
    let mut transaction = database::begin(&stage.pool).await.unwrap();
    assert!(claim::hold(&mut transaction, lease_of(&first)).await.is_err());
    assert!(claim::hold(&mut transaction, lease_of(&second)).await.is_ok());
    drop(transaction);
    assert!(outcome::end(&stage.pool, lease_of(&second), &Outcome::Succeeded(json!({}))).await.unwrap());
    assert_eq!(state(&stage, second.id).await, "succeeded");
}

#[tokio::test]
async fn a_job_whose_workers_die_three_times_in_a_row_is_dead() {
    let stage = Stage::new().await;
    let id = enqueue(&stage, Enqueue::default()).await;
    for _ in 0..2 {
        claim(Uuid::now_v7()).take(&stage.pool).await.unwrap().unwrap();
        stage.execute("UPDATE jobs SET lease_until = now() - interval '1 second'").await;
        lease::reconcile(&stage.pool, 0).await.unwrap();
        assert_eq!(state(&stage, id).await, "queued");
    }
    claim(Uuid::now_v7()).take(&stage.pool).await.unwrap().unwrap();
    stage.execute("UPDATE jobs SET lease_until = now() - interval '1 second'").await;
    assert_eq!(lease::reconcile(&stage.pool, 0).await.unwrap().poisoned, 1);
    assert_eq!(state(&stage, id).await, "dead");
    let error: String =
        sqlx::query_scalar("SELECT last_error FROM jobs WHERE id = $1").bind(id).fetch_one(&stage.pool).await.unwrap();
    assert!(error.starts_with("poison"), "{error}");
    assert_eq!(stage.number("SELECT count(*) FROM job_attempts WHERE job_id = $1 AND outcome IS NOT NULL", id).await, 3);
}

#[tokio::test]
async fn progress_forgives_the_deaths_before_it() {
    let stage = Stage::new().await;
    let id = enqueue(&stage, Enqueue::default()).await;
    for round in 1..=5 {
        let job = claim(Uuid::now_v7()).take(&stage.pool).await.unwrap().unwrap();
        assert_eq!(outcome::progress(&stage.pool, lease_of(&job), round, Some(5)).await.unwrap(), Some(false));
        stage.execute("UPDATE jobs SET lease_until = now() - interval '1 second'").await;
        lease::reconcile(&stage.pool, 0).await.unwrap();
    }
    assert_eq!(state(&stage, id).await, "queued");
}

#[tokio::test]
async fn two_reconcilers_take_a_job_once() {
    let stage = Stage::new().await;
    for _ in 0..50 {
        enqueue(&stage, Enqueue::default()).await;
    }
    for _ in 0..50 {
        claim(Uuid::now_v7()).take(&stage.pool).await.unwrap().unwrap();
    }
    stage.execute("UPDATE jobs SET lease_until = now() - interval '1 second'").await;
    let looks = futures::future::join_all((0..4).map(|_| lease::reconcile(&stage.pool, 0))).await;
    let requeued: u64 = looks.into_iter().map(|look| look.unwrap().requeued).sum();
    assert_eq!(requeued, 50);
}

#[tokio::test]
async fn nothing_is_taken_for_one_lease_after_postgresql_started() {
    let stage = Stage::new().await;
    enqueue(&stage, Enqueue::default()).await;
    claim(Uuid::now_v7()).take(&stage.pool).await.unwrap().unwrap();
    stage.execute("UPDATE jobs SET lease_until = now() - interval '1 second'").await;
    let a_century = 100 * 365 * 86_400;
    assert_eq!(lease::reconcile(&stage.pool, a_century).await.unwrap(), lease::Reconciled::default());
}

#[tokio::test]
async fn a_heartbeat_renews_what_is_ours_and_tells_what_is_cancelled_or_lost() {
    let stage = Stage::new().await;
    for _ in 0..3 {
        enqueue(&stage, Enqueue::default()).await;
    }
    let owner = Uuid::now_v7();
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(lease_of(&claim(owner).take(&stage.pool).await.unwrap().unwrap()));
    }
    sqlx::query("UPDATE jobs SET cancel_requested_at = now() WHERE id = $1")
        .bind(leases[1].job_id)
        .execute(&stage.pool)
        .await
        .unwrap();
    sqlx::query("UPDATE jobs SET lease_epoch = 9 WHERE id = $1").bind(leases[2].job_id).execute(&stage.pool).await.unwrap();
    // A transaction of the run itself holds its row: the heartbeat must not wait for it.
    let mut transaction = database::begin(&stage.pool).await.unwrap();
    claim::hold(&mut transaction, leases[0]).await.unwrap();
    let mut renewed = lease::renew(&stage.pool, owner, &leases, 20).await.unwrap();
    renewed.sort_by_key(|r| r.lease.job_id);
    assert_eq!(renewed.iter().map(|r| (r.lease, r.cancel_requested)).collect::<Vec<_>>(), [(leases[0], false), (leases[1], true)]);
}

#[tokio::test]
async fn failures_are_tried_again_until_the_attempts_are_used_up_and_yields_burn_none() {
    let stage = Stage::new().await;
    let id = enqueue(&stage, Enqueue::default()).await;
    let retry = Outcome::Retry { error: "sample".to_owned(), delay_ms: 0 };
    let yielded = Outcome::Yielded { delay_ms: 0, error: None };
    for (outcome, expected) in
        [(&yielded, "queued"), (&retry, "queued"), (&yielded, "queued"), (&retry, "queued"), (&retry, "dead")]
    {
        let job = claim(Uuid::now_v7()).take(&stage.pool).await.unwrap().unwrap();
        outcome::end(&stage.pool, lease_of(&job), outcome).await.unwrap();
        bell::promote(&stage.pool).await.unwrap();
        assert_eq!(state(&stage, id).await, expected);
    }
}

#[tokio::test]
async fn a_unique_key_names_one_living_job() {
    let stage = Stage::new().await;
    let options = || Enqueue { unique_key: Some("one".to_owned()), ..Enqueue::default() };
    let first = enqueue(&stage, options()).await;
    assert_eq!(enqueue(&stage, options()).await, first);
    let job = claim(Uuid::now_v7()).take(&stage.pool).await.unwrap().unwrap();
    outcome::end(&stage.pool, lease_of(&job), &Outcome::Succeeded(json!({}))).await.unwrap();
    assert_ne!(enqueue(&stage, options()).await, first);
}

#[tokio::test]
async fn a_later_job_waits_for_its_time() {
    let stage = Stage::new().await;
    let later = "2100-01-01T00:00:00Z".parse().unwrap();
    let id = enqueue(&stage, Enqueue { run_at: Some(later), ..Enqueue::default() }).await;
    assert_eq!(state(&stage, id).await, "scheduled");
    assert!(claim(Uuid::now_v7()).take(&stage.pool).await.unwrap().is_none());
    stage.execute("UPDATE jobs SET run_at = now()").await;
    assert_eq!(bell::promote(&stage.pool).await.unwrap(), 1);
    assert!(claim(Uuid::now_v7()).take(&stage.pool).await.unwrap().is_some());
}

#[tokio::test]
async fn the_live_part_of_a_lane_is_who_was_seen_within_half_a_minute() {
    let stage = Stage::new().await;
    let slots = |pairs: &[(Lane, usize)]| pairs.iter().copied().collect();
    fleet::seen(&stage.pool, Uuid::now_v7(), "one", 1, &slots(&[(Lane::Bulk, 8), (Lane::Critical, 2)])).await.unwrap();
    fleet::seen(&stage.pool, Uuid::now_v7(), "two", 2, &slots(&[(Lane::Bulk, 4)])).await.unwrap();
    let gone = Uuid::now_v7();
    fleet::seen(&stage.pool, gone, "gone", 3, &slots(&[(Lane::Bulk, 100)])).await.unwrap();
    stage.arrange(format!("UPDATE workers SET seen_at = now() - interval '31 seconds' WHERE id = '{gone}'")).await;
    let live = fleet::live(&stage.pool).await.unwrap();
    assert_eq!(live["bulk"], fleet::Live { workers: 2, slots: 12 });
    assert_eq!(live["critical"], fleet::Live { workers: 1, slots: 2 });
    assert_eq!(live.len(), 2);
}
