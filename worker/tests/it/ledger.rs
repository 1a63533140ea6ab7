//! The ledger's task, when PostgreSQL does not answer in time.

use std::{sync::Arc, time::Duration};

use mochila_worker::sending::ledger::Ledger;
use shared::{
    campaigns::launch,
    deliveries::{
        chunk,
        ledger::{Admission, Outcome, State},
    },
    queue::{
        claim::{Claim, Lease},
        job::Job,
        lane::Lane,
    },
    testing::Stage,
};
use tokio::sync::Semaphore;
use uuid::Uuid;

async fn take(stage: &Stage) -> Job {
    let claim = Claim { lane: Lane::Bulk, owner: Uuid::now_v7(), lease_seconds: 20, destination_cap: 10, hint: None };
    claim.take(&stage.pool).await.expect("an answer").expect("a job")
}

/// Holds the ledger's table for much longer than the ledger waits: whoever wants to write waits, and commits afterwards.
async fn blocked(stage: &Stage) -> tokio::task::JoinHandle<()> {
    let holder = Stage { pool: stage.pool.clone(), settings: stage.settings.clone(), clock: stage.clock.clone() };
    let task = tokio::spawn(async move {
        holder.arrange("BEGIN; LOCK TABLE deliveries IN SHARE ROW EXCLUSIVE MODE; SELECT pg_sleep(2); COMMIT".to_owned()).await;
    });
    let held =
        "SELECT count(*) FROM pg_locks WHERE relation = 'deliveries'::regclass AND mode = 'ShareRowExclusiveLock' AND granted";
    while stage.number(held, Uuid::nil()).await == 0 {
        tokio::task::yield_now().await;
    }
    task
}

#[tokio::test]
async fn statements_whose_answer_does_not_come_in_time_are_said_again_and_count_once() {
    let stage = Stage::new().await;
    let fixture = stage.campaign(&[("orchard.test", 3)]).await;
    let launching = take(&stage).await;
    let lease = Lease { job_id: launching.id, epoch: launching.lease_epoch };
    launch::slice(&stage.pool, lease, fixture.campaign_id, &stage.settings.sending).await.expect("frozen");
    let job = loop {
        let job = take(&stage).await;
        if job.kind == "SendChunk" {
            break job;
        }
    };
    let chunk = chunk::find(&stage.pool, job.id).await.expect("the chunk");
    let mut connection = stage.pool.acquire().await.expect("a connection");
    let recipient = chunk::waiting(&mut connection, &chunk, job.lease_epoch).await.expect("recipients").remove(0);
    let ledger = Ledger::with_patience(stage.settings.database.clone(), Duration::from_millis(300));

    let holder = blocked(&stage).await;
    let admission = Admission {
        campaign_id: fixture.campaign_id,
        contact_id: recipient.contact_id,
        chunk_id: chunk.id,
        lease_epoch: job.lease_epoch,
        attempt_id: 7,
        recipient: recipient.email,
        domain: recipient.domain,
        route_id: Uuid::nil(),
    };
    let admitted = ledger.admit(admission).await.expect("the ledger lives").expect("admitted");
    holder.await.expect("let go");
    assert!(admitted.may_send());
    assert_eq!(admitted.attempts, 1, "said again, and one attempt");

    let holder = blocked(&stage).await;
    let window = Arc::new(Semaphore::new(1));
    let permit = window.clone().acquire_owned().await.expect("open");
    let outcome = Outcome {
        campaign_id: fixture.campaign_id,
        contact_id: recipient.contact_id,
        attempt_id: 7,
        route_id: Uuid::nil(),
        state: State::Accepted,
        released: false,
        smtp_code: Some(250),
        enhanced_code: None,
        response: None,
        reason: None,
        delay_seconds: 0.0,
    };
    ledger.record(outcome, permit);
    // The place is free again only when the outcome is committed.
    let _ = window.acquire().await.expect("open");
    holder.await.expect("let go");
    let accepted = "SELECT count(*) FROM deliveries WHERE campaign_id = $1 AND state = 'accepted' AND attempts = 1";
    assert_eq!(stage.number(accepted, fixture.campaign_id).await, 1);
}
