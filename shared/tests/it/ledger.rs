//! Admission and outcome, twice, stale, and at the wrong time.

use shared::{
    campaigns::{cancel, finish, launch},
    database,
    deliveries::{
        chunk, doubt,
        ledger::{self, Admission, Outcome, State},
        sweep, tally,
    },
    queue::{
        claim::{Claim, Lease},
        job::{self, Enqueue, Job},
        lane::Lane,
    },
    testing::{Fixture, Stage},
};
use sqlx::PgConnection;
use uuid::Uuid;

struct Desk {
    stage: Stage,
    fixture: Fixture,
    job: Job,
    chunk: chunk::Chunk,
    waiting: Vec<chunk::Recipient>,
    connection: sqlx::pool::PoolConnection<sqlx::Postgres>,
}

async fn take(stage: &Stage) -> Option<Job> {
    Claim { lane: Lane::Bulk, owner: Uuid::now_v7(), lease_seconds: 20, destination_cap: 10, hint: None }
        .take(&stage.pool)
        .await
        .unwrap()
}

/// A launched campaign of ten, with its chunk claimed.
async fn desk() -> Desk {
    let stage = Stage::new().await;
    let fixture = stage.campaign(&[("orchard.test", 10)]).await;
    let launch = take(&stage).await.unwrap();
    launch::slice(
        &stage.pool,
        Lease { job_id: launch.id, epoch: launch.lease_epoch },
        fixture.campaign_id,
        &stage.settings.sending,
    )
    .await
    .unwrap();
    stage
        .execute("UPDATE jobs SET state = 'succeeded', finished_at = now(), lease_owner = NULL, lease_until = NULL WHERE state = 'running'")
        .await;
    let job = take(&stage).await.unwrap();
    let chunk = chunk::find(&stage.pool, job.id).await.unwrap();
    let mut connection = stage.pool.acquire().await.unwrap();
    ledger::prepare(&mut connection).await.unwrap();
    let waiting = chunk::waiting(&mut connection, &chunk, job.lease_epoch).await.unwrap();
    assert_eq!(waiting.len(), 10);
    Desk { stage, fixture, job, chunk, waiting, connection }
}

impl Desk {
    fn ask(&self, index: usize, attempt_id: i64) -> Admission {
        let recipient = &self.waiting[index];
        Admission {
            campaign_id: self.fixture.campaign_id,
            contact_id: recipient.contact_id,
            chunk_id: self.chunk.id,
            lease_epoch: self.job.lease_epoch,
            attempt_id,
            recipient: recipient.email.clone(),
            domain: recipient.domain.clone(),
            route_id: Uuid::nil(),
        }
    }

    fn outcome(&self, index: usize, attempt_id: i64, state: State) -> Outcome {
        Outcome {
            campaign_id: self.fixture.campaign_id,
            contact_id: self.waiting[index].contact_id,
            attempt_id,
            route_id: Uuid::nil(),
            state,
            released: false,
            smtp_code: Some(250),
            enhanced_code: None,
            response: None,
            reason: None,
            delay_seconds: 0.0,
        }
    }

    async fn tally(&self) -> tally::Tally {
        let tally = tally::count(&self.stage.pool, self.fixture.campaign_id).await.unwrap();
        assert_eq!(Some(tally.sum()), tally.audience);
        tally
    }

    async fn requeue(&self) {
        self.stage
            .execute("UPDATE jobs SET state = 'queued', lease_owner = NULL, lease_until = NULL WHERE state = 'running'")
            .await;
    }
}

async fn admit(connection: &mut PgConnection, asked: &[Admission]) -> Vec<(i64, String)> {
    let mut answers: Vec<_> =
        ledger::admit(connection, asked).await.unwrap().into_iter().map(|answer| (answer.attempt_id, answer.state)).collect();
    answers.sort_unstable();
    answers
}

#[tokio::test]
async fn the_same_admission_again_recognises_its_own_rows_and_another_one_is_refused() {
    let mut desk = desk().await;
    let asked = [desk.ask(0, 100), desk.ask(1, 101)];
    let answer = vec![(100, "sending".to_owned()), (101, "sending".to_owned())];
    assert_eq!(admit(&mut desk.connection, &asked).await, answer);
    assert_eq!(admit(&mut desk.connection, &asked).await, answer, "the answer to the commit was lost");
    let attempts =
        desk.stage.number("SELECT max(attempts)::bigint FROM deliveries WHERE campaign_id = $1", desk.fixture.campaign_id).await;
    assert_eq!(attempts, 1);
    let other = [desk.ask(0, 200)];
    assert_eq!(admit(&mut desk.connection, &other).await, []);
    assert_eq!(desk.tally().await.in_flight, 2);
}

#[tokio::test]
async fn a_suppression_that_has_expired_holds_nobody_back() {
    let mut desk = desk().await;
    for (kind, value) in [("address", desk.waiting[0].email.clone()), ("domain", "orchard.test".to_owned())] {
        sqlx::query("INSERT INTO suppressions (id, workspace_id, kind, value, expires_at) VALUES (uuid_v7(), $1, $2, $3, now())")
            .bind(desk.fixture.workspace_id)
            .bind(kind)
            .bind(value)
            .execute(&desk.stage.pool)
            .await
            .unwrap();
    }
    let asked = [desk.ask(0, 1)];
    assert_eq!(admit(&mut desk.connection, &asked).await, [(1, "sending".to_owned())]);
}

#[tokio::test]
async fn suppressed_unsubscribed_and_deleted_recipients_are_not_sent_to() {
    let mut desk = desk().await;
    let workspace = desk.fixture.workspace_id;
    sqlx::query("INSERT INTO suppressions (id, workspace_id, kind, value) VALUES (uuid_v7(), $1, 'address', $2)")
        .bind(workspace)
        .bind(&desk.waiting[0].email)
        .execute(&desk.stage.pool)
        .await
        .unwrap();
    sqlx::query("UPDATE contacts SET state = 'unsubscribed' WHERE id = $1")
        .bind(desk.waiting[1].contact_id)
        .execute(&desk.stage.pool)
        .await
        .unwrap();
    sqlx::query("DELETE FROM contacts WHERE id = $1").bind(desk.waiting[2].contact_id).execute(&desk.stage.pool).await.unwrap();
    let asked = [desk.ask(0, 1), desk.ask(1, 2), desk.ask(2, 3), desk.ask(3, 4)];
    let answers = admit(&mut desk.connection, &asked).await;
    assert_eq!(
        answers.iter().map(|(_, state)| state.as_str()).collect::<Vec<_>>(),
        ["suppressed", "suppressed", "suppressed", "sending"]
    );
    sqlx::query("INSERT INTO suppressions (id, workspace_id, kind, value) VALUES (uuid_v7(), $1, 'domain', 'orchard.test')")
        .bind(workspace)
        .execute(&desk.stage.pool)
        .await
        .unwrap();
    let asked = [desk.ask(4, 5)];
    assert_eq!(admit(&mut desk.connection, &asked).await, [(5, "suppressed".to_owned())]);
}

#[tokio::test]
async fn a_recipient_who_is_deleted_while_deferred_does_not_keep_the_chunk_open() {
    let mut desk = desk().await;
    let asked: Vec<_> = (0..10).map(|index| desk.ask(index, 1 + i64::try_from(index).unwrap())).collect();
    admit(&mut desk.connection, &asked).await;
    let outcomes: Vec<_> = asked
        .iter()
        .enumerate()
        .map(|(index, asked)| desk.outcome(index, asked.attempt_id, if index < 2 { State::Deferred } else { State::Accepted }))
        .collect();
    assert_eq!(ledger::record(&mut desk.connection, &outcomes).await.unwrap(), 10);
    assert!(chunk::finish(&desk.stage.pool, &desk.chunk).await.unwrap(), "the deferred have a date");
    assert_eq!(sweep::deferred(&desk.stage.pool, &desk.stage.settings.sending).await.unwrap().due, 2);
    desk.stage
        .execute("UPDATE jobs SET state = 'succeeded', finished_at = now(), lease_owner = NULL, lease_until = NULL WHERE state = 'running'")
        .await;
    sqlx::query("DELETE FROM contacts WHERE id = $1").bind(desk.waiting[0].contact_id).execute(&desk.stage.pool).await.unwrap();

    let job = take(&desk.stage).await.unwrap();
    let second = chunk::find(&desk.stage.pool, job.id).await.unwrap();
    let waiting = chunk::waiting(&mut desk.connection, &second, job.lease_epoch).await.unwrap();
    assert_eq!(waiting.iter().map(|r| r.contact_id).collect::<Vec<_>>(), [desk.waiting[1].contact_id]);
    assert!(!chunk::finish(&desk.stage.pool, &second).await.unwrap(), "one waits still");
    let last = [Admission { chunk_id: second.id, lease_epoch: job.lease_epoch, ..desk.ask(1, 99) }];
    assert_eq!(admit(&mut desk.connection, &last).await, [(99, "sending".to_owned())]);
    assert!(!chunk::finish(&desk.stage.pool, &second).await.unwrap(), "one is in flight");
    let accepted = [desk.outcome(1, 99, State::Accepted)];
    ledger::record(&mut desk.connection, &accepted).await.unwrap();
    assert!(chunk::finish(&desk.stage.pool, &second).await.unwrap());
    let tally = desk.tally().await;
    assert_eq!((tally.accepted, tally.suppressed), (9, 1));
}

#[tokio::test]
async fn a_paused_or_cancelled_campaign_and_a_stale_epoch_admit_nobody() {
    let mut desk = desk().await;
    let asked = [desk.ask(0, 1)];
    for state in ["paused", "cancelled"] {
        sqlx::query("UPDATE campaigns SET state = $1").bind(state).execute(&desk.stage.pool).await.unwrap();
        assert_eq!(admit(&mut desk.connection, &asked).await, [], "{state}");
    }
    desk.stage
        .execute("UPDATE campaigns SET state = 'sending'; UPDATE jobs SET lease_epoch = lease_epoch + 1 WHERE state = 'running'")
        .await;
    assert_eq!(admit(&mut desk.connection, &asked).await, []);
    assert_eq!(desk.tally().await.pending, 10);
}

#[tokio::test]
async fn what_a_dead_process_left_is_in_doubt_and_a_fact_from_the_resumed_one_is_true() {
    let mut desk = desk().await;
    let asked = [desk.ask(0, 1), desk.ask(1, 2)];
    admit(&mut desk.connection, &asked).await;
    desk.requeue().await;
    let again = take(&desk.stage).await.unwrap();
    let lease = Lease { job_id: again.id, epoch: again.lease_epoch };
    assert_eq!(doubt::earlier_runs(&desk.stage.pool, &desk.chunk, lease).await.unwrap(), 2);
    assert_eq!(desk.tally().await.unknown, 2);
    let waiting = chunk::waiting(&mut desk.connection, &desk.chunk, again.lease_epoch).await.unwrap();
    assert_eq!(waiting.len(), 8, "those in doubt are not sent to again");
    let facts = [desk.outcome(0, 1, State::Accepted)];
    assert_eq!(ledger::record(&mut desk.connection, &facts).await.unwrap(), 1);
    assert_eq!(ledger::record(&mut desk.connection, &facts).await.unwrap(), 0, "twice changes nothing");
    let lies = [desk.outcome(1, 99, State::Accepted)];
    assert_eq!(ledger::record(&mut desk.connection, &lies).await.unwrap(), 0, "another attempt's outcome");
    let tally = desk.tally().await;
    assert_eq!((tally.accepted, tally.unknown), (1, 1));
}

#[tokio::test]
async fn a_late_fact_opens_a_finished_campaign_and_it_is_counted_anew() {
    let mut desk = desk().await;
    let asked: Vec<_> = (0..10).map(|n| desk.ask(n, i64::try_from(n).unwrap() + 1)).collect();
    admit(&mut desk.connection, &asked).await;
    let nine: Vec<_> = (0..9).map(|n| desk.outcome(n, i64::try_from(n).unwrap() + 1, State::Accepted)).collect();
    ledger::record(&mut desk.connection, &nine).await.unwrap();
    assert!(!chunk::finish(&desk.stage.pool, &desk.chunk).await.unwrap(), "one is in flight");
    desk.requeue().await;
    let again = take(&desk.stage).await.unwrap();
    doubt::earlier_runs(&desk.stage.pool, &desk.chunk, Lease { job_id: again.id, epoch: again.lease_epoch }).await.unwrap();
    assert!(chunk::finish(&desk.stage.pool, &desk.chunk).await.unwrap());
    desk.stage.execute("UPDATE jobs SET state = 'succeeded', finished_at = now(), lease_owner = NULL, lease_until = NULL WHERE state = 'running'").await;
    assert_eq!(finish::all(&desk.stage.pool, 20).await.unwrap(), [desk.fixture.campaign_id]);
    let state = |stage: &Stage| {
        let pool = stage.pool.clone();
        async move { sqlx::query_scalar::<_, String>("SELECT state FROM campaigns").fetch_one(&pool).await.unwrap() }
    };
    assert_eq!(state(&desk.stage).await, "finished_with_failures");
    let late = [desk.outcome(9, 10, State::Accepted)];
    ledger::record(&mut desk.connection, &late).await.unwrap();
    assert_eq!(finish::all(&desk.stage.pool, 20).await.unwrap(), [desk.fixture.campaign_id]);
    assert_eq!(state(&desk.stage).await, "finished");
    assert_eq!(desk.tally().await.accepted, 10);
}

#[tokio::test]
async fn deferred_recipients_come_round_in_new_chunks_and_expire_in_time() {
    let mut desk = desk().await;
    let asked = [desk.ask(0, 1), desk.ask(1, 2)];
    admit(&mut desk.connection, &asked).await;
    let deferred = [desk.outcome(0, 1, State::Deferred), desk.outcome(1, 2, State::Deferred)];
    ledger::record(&mut desk.connection, &deferred).await.unwrap();
    assert_eq!(desk.tally().await.deferred, 2);
    sqlx::query("UPDATE deliveries SET first_attempt_at = now() - interval '3 days' WHERE contact_id = $1")
        .bind(desk.waiting[1].contact_id)
        .execute(&desk.stage.pool)
        .await
        .unwrap();
    let sweeps = futures::future::join(
        sweep::deferred(&desk.stage.pool, &desk.stage.settings.sending),
        sweep::deferred(&desk.stage.pool, &desk.stage.settings.sending),
    )
    .await;
    let (first, second) = (sweeps.0.unwrap(), sweeps.1.unwrap());
    assert_eq!((first.due + second.due, first.expired + second.expired), (1, 1), "two sweepers take each once");
    let job = take(&desk.stage).await.unwrap();
    assert_eq!(job.destination, "", "a single one shares a mixed chunk");
    let chunk = chunk::find(&desk.stage.pool, job.id).await.unwrap();
    let waiting = chunk::waiting(&mut desk.connection, &chunk, job.lease_epoch).await.unwrap();
    assert_eq!(waiting.len(), 1);
    let again = [Admission { chunk_id: chunk.id, lease_epoch: job.lease_epoch, ..desk.ask(0, 3) }];
    assert_eq!(admit(&mut desk.connection, &again).await, [(3, "sending".to_owned())]);
    let tally = desk.tally().await;
    assert_eq!((tally.in_flight, tally.failed), (1, 1));
}

#[tokio::test]
async fn recipients_of_a_dead_chunk_fail_and_the_campaign_can_finish() {
    let mut desk = desk().await;
    let asked = [desk.ask(0, 1)];
    admit(&mut desk.connection, &asked).await;
    desk.stage
        .execute(
            "UPDATE jobs SET state = 'dead', finished_at = now(), lease_owner = NULL, lease_until = NULL WHERE state = 'running'",
        )
        .await;
    let settled = futures::future::join_all((0..3).map(|_| chunk::settle_orphans(&desk.stage.pool))).await;
    assert_eq!(settled.into_iter().map(Result::unwrap).sum::<u64>(), 1);
    let tally = desk.tally().await;
    assert_eq!((tally.failed, tally.unknown), (9, 1));
    assert_eq!(finish::all(&desk.stage.pool, 20).await.unwrap(), [desk.fixture.campaign_id]);
}

#[tokio::test]
async fn a_cancelled_campaign_gives_everybody_a_state_and_late_deferrals_are_cancelled_too() {
    let mut desk = desk().await;
    let asked = [desk.ask(0, 1), desk.ask(1, 2)];
    admit(&mut desk.connection, &asked).await;
    desk.stage.execute("UPDATE campaigns SET state = 'cancelled'").await;
    let job = {
        let options = Enqueue { campaign_id: Some(desk.fixture.campaign_id), ..Enqueue::default() };
        let payload = shared::campaigns::payload::CancelRecipients { campaign_id: desk.fixture.campaign_id };
        job::enqueue(&mut desk.connection, &payload, options).await.unwrap();
        take(&desk.stage).await.unwrap()
    };
    let lease = Lease { job_id: job.id, epoch: job.lease_epoch };
    assert_eq!(cancel::slice(&desk.stage.pool, lease, desk.fixture.campaign_id).await.unwrap(), 0);
    let tally = desk.tally().await;
    assert_eq!((tally.cancelled, tally.in_flight), (8, 2));
    let facts = [desk.outcome(0, 1, State::Accepted), desk.outcome(1, 2, State::Deferred)];
    ledger::record(&mut desk.connection, &facts).await.unwrap();
    let tally = desk.tally().await;
    assert_eq!((tally.accepted, tally.cancelled), (1, 9));
}

#[tokio::test]
async fn the_deferred_of_a_cancelled_campaign_do_not_come_round() {
    let mut desk = desk().await;
    let asked = [desk.ask(0, 1), desk.ask(1, 2)];
    admit(&mut desk.connection, &asked).await;
    let deferred = [desk.outcome(0, 1, State::Deferred), desk.outcome(1, 2, State::Deferred)];
    ledger::record(&mut desk.connection, &deferred).await.unwrap();
    // A cancellation that is under way holds the campaign: the sweep waits for it, and then makes no chunk.
    let mut cancellation = database::begin(&desk.stage.pool).await.unwrap();
    sqlx::query("UPDATE campaigns SET state = 'cancelled'").execute(&mut *cancellation).await.unwrap();
    let (pool, settings) = (desk.stage.pool.clone(), desk.stage.settings.sending.clone());
    let sweeping = tokio::spawn(async move { sweep::deferred(&pool, &settings).await });
    while desk
        .stage
        .number(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
            Uuid::nil(),
        )
        .await
        == 0
    {
        tokio::task::yield_now().await;
    }
    cancellation.commit().await.unwrap();
    assert_eq!(sweeping.await.unwrap().unwrap(), sweep::Swept::default());
    assert_eq!(sweep::deferred(&desk.stage.pool, &desk.stage.settings.sending).await.unwrap().cancelled, 2);
    assert_eq!(desk.tally().await.cancelled, 2);
}

#[tokio::test]
async fn an_admission_whose_answer_was_lost_before_a_pause_is_given_back() {
    let mut desk = desk().await;
    let asked = [desk.ask(0, 1)];
    assert_eq!(admit(&mut desk.connection, &asked).await.len(), 1);
    // The answer is lost, a person pauses, the worker asks again and hears nothing of its own row: it says that it started nothing.
    desk.stage.execute("UPDATE campaigns SET state = 'paused'").await;
    assert_eq!(admit(&mut desk.connection, &asked).await, []);
    assert_eq!(desk.tally().await.in_flight, 1);
    let released = Outcome { released: true, ..desk.outcome(0, 1, State::Deferred) };
    assert_eq!(ledger::record(&mut desk.connection, std::slice::from_ref(&released)).await.unwrap(), 1);
    assert_eq!(ledger::record(&mut desk.connection, &[released]).await.unwrap(), 0, "told twice");
    let tally = desk.tally().await;
    assert_eq!((tally.in_flight, tally.deferred, tally.unknown), (0, 1, 0), "{tally:?}");
    // After the pause it has all its attempts, and one mail.
    desk.stage.execute("UPDATE campaigns SET state = 'sending'").await;
    assert_eq!(sweep::deferred(&desk.stage.pool, &desk.stage.settings.sending).await.unwrap().due, 1);
    let attempts = desk.stage.number("SELECT sum(attempts)::bigint FROM deliveries", Uuid::nil()).await;
    assert_eq!(attempts, 0);
}

#[tokio::test]
async fn what_a_dead_worker_had_in_flight_in_a_cancelled_campaign_is_in_doubt_once_its_lease_is_over() {
    let mut desk = desk().await;
    let asked = [desk.ask(0, 1), desk.ask(1, 2)];
    admit(&mut desk.connection, &asked).await;
    // Cancelled, with the chunk finished, while its worker is still on the wire.
    desk.stage
        .execute(
            "UPDATE campaigns SET state = 'cancelled', updated_at = now() - interval '1 minute';
             UPDATE chunks SET finished_at = now();
             UPDATE deliveries SET updated_at = now() - interval '1 minute'",
        )
        .await;
    finish::settle_cancelled(&desk.stage.pool, 20).await.unwrap();
    assert_eq!(desk.tally().await.in_flight, 2, "a run that lives will say how it ended");
    // Then it is killed: the next claim is of a finished chunk, and still says what was in flight.
    desk.requeue().await;
    let again = take(&desk.stage).await.unwrap();
    let chunk = chunk::find(&desk.stage.pool, again.id).await.unwrap();
    assert!(chunk.finished);
    let by_claim = doubt::earlier_runs(&desk.stage.pool, &chunk, Lease { job_id: again.id, epoch: again.lease_epoch });
    assert_eq!(by_claim.await.unwrap(), 2);
    assert_eq!(desk.tally().await.unknown, 2);
}

#[tokio::test]
async fn no_claim_is_needed_to_settle_what_was_in_flight_in_a_cancelled_campaign() {
    let mut desk = desk().await;
    let asked = [desk.ask(0, 1), desk.ask(1, 2)];
    admit(&mut desk.connection, &asked).await;
    desk.stage
        .execute(
            "UPDATE campaigns SET state = 'cancelled', updated_at = now() - interval '1 minute';
             UPDATE deliveries SET updated_at = now() - interval '1 minute';
             UPDATE jobs SET state = 'cancelled', finished_at = now(), lease_owner = NULL, lease_until = NULL WHERE state = 'running'",
        )
        .await;
    finish::settle_cancelled(&desk.stage.pool, 20).await.unwrap();
    finish::settle_cancelled(&desk.stage.pool, 20).await.unwrap();
    let tally = desk.tally().await;
    assert_eq!((tally.in_flight, tally.unknown), (0, 2), "{tally:?}");
}

#[tokio::test]
async fn a_recipient_that_came_round_while_its_first_chunk_is_open_is_cancelled_once() {
    let mut desk = desk().await;
    let asked = [desk.ask(0, 1), desk.ask(1, 2)];
    admit(&mut desk.connection, &asked).await;
    let deferred = [desk.outcome(0, 1, State::Deferred), desk.outcome(1, 2, State::Deferred)];
    ledger::record(&mut desk.connection, &deferred).await.unwrap();
    assert_eq!(sweep::deferred(&desk.stage.pool, &desk.stage.settings.sending).await.unwrap().due, 2);
    desk.stage.execute("UPDATE campaigns SET state = 'cancelled'").await;
    let options = Enqueue { campaign_id: Some(desk.fixture.campaign_id), ..Enqueue::default() };
    let payload = shared::campaigns::payload::CancelRecipients { campaign_id: desk.fixture.campaign_id };
    let id = job::enqueue(&mut desk.connection, &payload, options).await.unwrap();
    let job = loop {
        let job = take(&desk.stage).await.unwrap();
        if job.id == id {
            break job;
        }
    };
    let lease = Lease { job_id: job.id, epoch: job.lease_epoch };
    assert_eq!(cancel::slice(&desk.stage.pool, lease, desk.fixture.campaign_id).await.unwrap(), 0);
    assert_eq!(desk.tally().await.cancelled, 10);
}
