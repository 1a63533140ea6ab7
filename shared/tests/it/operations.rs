//! What an operator does and sees.

use serde_json::json;
use shared::{
    keyspace::Keyspace,
    operations::{
        dead, installation, report,
        sending::{self, Hold},
        stuck,
    },
    queue::{
        bell,
        claim::{Claim, Lease},
        fleet, gauges,
        inspect::Dead,
        job::{self, Enqueue},
        lane::Lane,
        lease,
        outcome::{self, Outcome},
        payload,
    },
    routes::connections,
    testing::Stage,
};
use uuid::Uuid;

#[derive(serde::Serialize, serde::Deserialize)]
struct SendChunk {}

impl payload::Job for SendChunk {
    const NAME: &'static str = "SendChunk";
    const LANE: Lane = Lane::Bulk;
}

#[derive(serde::Serialize, serde::Deserialize)]
struct CancelRecipients {}

impl payload::Job for CancelRecipients {
    const NAME: &'static str = "CancelRecipients";
    const LANE: Lane = Lane::Bulk;
}

#[derive(serde::Serialize, serde::Deserialize)]
struct SendReset {}

impl payload::Job for SendReset {
    const NAME: &'static str = "SendReset";
    const LANE: Lane = Lane::Critical;
}

async fn enqueue<P: payload::Job>(stage: &Stage, payload: P, options: Enqueue) -> Uuid {
    job::enqueue(&mut stage.pool.acquire().await.unwrap(), &payload, options).await.unwrap()
}

fn claim(lane: Lane, hint: Option<Uuid>) -> Claim {
    Claim { lane, owner: Uuid::now_v7(), lease_seconds: 20, destination_cap: 2, hint }
}

async fn taken(stage: &Stage, lane: Lane, hint: Option<Uuid>) -> Option<String> {
    claim(lane, hint).take(&stage.pool).await.unwrap().map(|job| job.kind)
}

async fn pause(stage: &Stage, everything: bool) {
    sending::pause(&mut stage.pool.acquire().await.unwrap(), everything, Some("the relay is being moved")).await.unwrap();
}

async fn resume(stage: &Stage) -> bool {
    sending::resume(&mut stage.pool.acquire().await.unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_pause_holds_chunks_back_but_neither_cancellations_nor_account_mail() {
    let stage = Stage::new().await;
    let chunk = enqueue(&stage, SendChunk {}, Enqueue { destination: "orchard.test".to_owned(), ..Enqueue::default() }).await;
    pause(&stage, false).await;
    assert_eq!(bell::claimable(&stage.pool, Lane::Bulk, 2, 10).await.unwrap(), 0);
    assert_eq!(taken(&stage, Lane::Bulk, None).await, None);
    assert_eq!(taken(&stage, Lane::Bulk, Some(chunk)).await, None);
    enqueue(&stage, CancelRecipients {}, Enqueue { flow: "SendChunk".to_owned(), priority: 10, ..Enqueue::default() }).await;
    assert_eq!(bell::claimable(&stage.pool, Lane::Bulk, 2, 10).await.unwrap(), 1);
    assert_eq!(taken(&stage, Lane::Bulk, None).await.as_deref(), Some("CancelRecipients"));
    let mail = enqueue(&stage, SendReset {}, Enqueue::default()).await;
    pause(&stage, true).await;
    assert_eq!(taken(&stage, Lane::Critical, None).await, None);
    assert_eq!(taken(&stage, Lane::Critical, Some(mail)).await, None);
    pause(&stage, false).await;
    assert_eq!(taken(&stage, Lane::Critical, Some(mail)).await.as_deref(), Some("SendReset"));
    assert!(resume(&stage).await);
    assert!(!resume(&stage).await);
    assert_eq!(taken(&stage, Lane::Bulk, None).await.as_deref(), Some("SendChunk"));
}

#[tokio::test]
async fn a_second_pause_keeps_the_time_of_the_first() {
    let stage = Stage::new().await;
    pause(&stage, false).await;
    let mut connection = stage.pool.acquire().await.unwrap();
    let first = sending::standing(&mut connection).await.unwrap();
    assert_eq!((first.hold, first.reason.as_deref()), (Some(Hold::Campaigns), Some("the relay is being moved")));
    sending::pause(&mut connection, true, None).await.unwrap();
    let second = sending::standing(&mut connection).await.unwrap();
    assert_eq!((second.hold, second.reason, second.paused_at), (Some(Hold::Everything), None, first.paused_at));
    let error = sending::pause(&mut connection, true, Some(&"x".repeat(501))).await.unwrap_err();
    assert_eq!(error.to_string(), "reason: must be 500 characters at most, not 501");
}

#[tokio::test]
async fn a_house_that_was_just_migrated_sends_and_a_restart_changes_nothing() {
    let stage = Stage::new().await;
    assert_eq!(sending::hold(&stage.pool).await.unwrap(), None);
    assert!(!installation::begin(&stage.pool).await.unwrap(), "it was recorded when it was migrated");
    assert!(!installation::confirm(&stage.pool).await.unwrap(), "there is nothing to confirm");
    stage.execute("VACUUM FREEZE installation").await;
    stage.execute("VACUUM FULL installation").await;
    assert_eq!(sending::hold(&stage.pool).await.unwrap(), None);
}

#[tokio::test]
async fn a_restored_backup_is_held_until_it_is_confirmed_and_the_original_goes_on() {
    let stage = Stage::new().await;
    let copy = stage.restored().await;
    assert_eq!(sending::hold(&stage.pool).await.unwrap(), None);
    assert_eq!(sending::hold(&copy.pool).await.unwrap(), Some(Hold::Restored));
    assert!(!installation::begin(&copy.pool).await.unwrap(), "migrating a copy does not confirm it");
    assert!(!resume(&copy).await, "resuming a copy does not confirm it");
    for lane in [Lane::Bulk, Lane::Critical] {
        enqueue(&copy, SendReset {}, Enqueue::default()).await;
        enqueue(&copy, CancelRecipients {}, Enqueue::default()).await;
        assert_eq!(taken(&copy, lane, None).await, None);
    }
    let (first, second) = tokio::join!(installation::confirm(&copy.pool), installation::confirm(&copy.pool));
    assert!(first.unwrap() ^ second.unwrap(), "one of two confirmations did it");
    assert_eq!(sending::hold(&copy.pool).await.unwrap(), None);
    // A copy of the copy is a copy again.
    assert_eq!(sending::hold(&copy.restored().await.pool).await.unwrap(), Some(Hold::Restored));
}

#[tokio::test]
async fn a_backup_whose_rows_are_loaded_into_the_same_database_is_held() {
    let stage = Stage::new().await;
    let copy = stage.restored().await;
    stage.execute("DELETE FROM installation").await;
    assert_eq!(sending::hold(&stage.pool).await.unwrap(), Some(Hold::Restored), "nobody has said which database sends");
    copy.backup_into(&stage.settings.database, &["--data-only", "--table=installation"]).await;
    assert_eq!(sending::hold(&stage.pool).await.unwrap(), Some(Hold::Restored));
    installation::confirm(&stage.pool).await.unwrap();
    assert_eq!(sending::hold(&stage.pool).await.unwrap(), None);
}

#[tokio::test]
async fn another_timeline_cluster_or_database_is_a_copy() {
    let stage = Stage::new().await;
    for change in ["timeline = timeline - 1", "system_identifier = system_identifier + 1", "database_oid = 1"] {
        stage
            .arrange(format!("UPDATE installation SET {change}, written_by = pg_current_xact_id()::text::bigint % 4294967296"))
            .await;
        assert_eq!(sending::hold(&stage.pool).await.unwrap(), Some(Hold::Restored), "{change}");
        assert!(installation::confirm(&stage.pool).await.unwrap());
        assert_eq!(sending::hold(&stage.pool).await.unwrap(), None, "{change}");
    }
}

fn says<'a>(picture: &'a stuck::Picture, subject: &str) -> Vec<&'a str> {
    picture.findings.iter().filter(|finding| finding.subject == subject).map(|finding| finding.says.as_str()).collect()
}

#[tokio::test]
async fn an_idle_house_has_nothing_stuck() {
    let stage = Stage::new().await;
    let picture = stuck::picture(&stage.pool, &stage.settings).await.unwrap();
    assert_eq!(picture.findings, []);
    assert!(report::of(&picture).ends_with("nothing is stuck\n"));
}

#[tokio::test]
async fn what_is_stuck_says_why_and_what_mends_it() {
    let stage = Stage::new().await;
    let campaign = stage.campaign(&[("orchard.test", 1)]).await.campaign_id;
    stage.execute("UPDATE campaigns SET state = 'paused'").await;
    for destination in ["harbor.test", "slow.test"] {
        enqueue(&stage, SendChunk {}, Enqueue { destination: destination.to_owned(), ..Enqueue::default() }).await;
    }
    stage
        .execute(
            "INSERT INTO destinations (domain, suspended_until, reason, last_reply)
                 VALUES ('harbor.test', now() + interval '1 hour', 'policy', '550 5.7.1 not welcome');
             INSERT INTO destinations (domain, adaptive_rate, last_reply) VALUES ('slow.test', 2.5, '451 4.7.1 later');
             INSERT INTO jobs (id, kind, lane, flow, state, payload, finished_at, last_error)
                 VALUES (gen_random_uuid(), 'LoadContacts', 'imports', 'x', 'dead', '{}', now() - interval '2 days', 'no such file');
             INSERT INTO jobs (id, kind, lane, flow, state, payload, lease_owner, lease_until)
                 VALUES (gen_random_uuid(), 'LoadContacts', 'imports', 'x', 'running', '{}', gen_random_uuid(), now() - interval '1 minute');
             INSERT INTO jobs (id, kind, lane, flow, state, payload, last_error, run_at)
                 VALUES (gen_random_uuid(), 'Tidy', 'maintenance', 'x', 'queued', '{}', 'route: connection refused', now() - interval '1 hour')",
        )
        .await;
    let slots = [(Lane::Maintenance, 2)].into();
    fleet::seen(&stage.pool, Uuid::now_v7(), "host", 1, &slots).await.unwrap();
    pause(&stage, false).await;
    let picture = stuck::picture(&stage.pool, &stage.settings).await.unwrap();
    assert_eq!(picture.workers, 1);
    assert_eq!(says(&picture, "sending"), ["campaigns are paused: the relay is being moved"]);
    assert_eq!(
        says(&picture, "bulk"),
        ["no live worker serves this lane; 3 jobs wait", "1 jobs belong to paused campaigns", "there is no route that may be used"]
    );
    assert_eq!(
        says(&picture, "imports"),
        [
            "no live worker serves this lane; 0 jobs wait",
            "1 jobs run on leases that are over: their workers are gone",
            "1 jobs are dead, 0 of them since yesterday"
        ]
    );
    assert_eq!(
        says(&picture, "maintenance"),
        ["1 jobs are ready, slots are free, and nobody takes them", "1 jobs try again after: route: connection refused"]
    );
    assert!(says(&picture, "harbor.test")[0].ends_with(", last reply: 550 5.7.1 not welcome"));
    assert_eq!(says(&picture, "slow.test"), ["slowed to 2.5 a second by its replies, last reply: 451 4.7.1 later"]);
    assert!(picture.findings.iter().all(|finding| !finding.mend.is_empty()));
    let text = report::of(&picture);
    for line in [
        "sending PAUSED since ",
        "-> mochila-worker resume-sending",
        "-> mochila-worker --lanes bulk",
        "-> mochila-worker resume-destination harbor.test",
        "-> mochila-worker requeue-dead --lane imports",
    ] {
        assert!(text.contains(line), "{line:?} is missing in\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() < 200), "{text}");
    assert!(serde_json::to_value(&picture).unwrap()["lanes"].as_array().unwrap().len() == 8);
    let _ = campaign;
}

#[tokio::test]
async fn what_a_full_destination_holds_back_is_ready_for_nobody_in_each_lane_by_its_own_cap() {
    let mut stage = Stage::new().await;
    (stage.settings.sending.destination_chunks, stage.settings.sending.transactional.destination_messages) = (2, 3);
    // In each lane two run for one destination, and one more waits.
    stage
        .execute(
            "INSERT INTO jobs (id, kind, lane, flow, destination, state, payload, run_at)
                 SELECT gen_random_uuid(), 'SendMessage', lane, 'x', 'harbor.test', 'queued', '{}', now() - interval '1 minute'
                 FROM unnest(ARRAY['bulk', 'critical']) lane;
             INSERT INTO jobs (id, kind, lane, flow, destination, state, payload, lease_owner, lease_until)
                 SELECT gen_random_uuid(), 'SendMessage', lane, 'x', 'harbor.test', 'running', '{}', gen_random_uuid(), now() + interval '1 hour'
                 FROM unnest(ARRAY['bulk', 'bulk', 'critical', 'critical']) lane",
        )
        .await;
    let picture = stuck::picture(&stage.pool, &stage.settings).await.unwrap();
    let gauges = gauges::lanes(&stage.pool, &stage.settings.sending).await.unwrap();
    for (lane, ready) in [("bulk", 0), ("critical", 1)] {
        let view = picture.lanes.iter().find(|view| view.lane == lane).unwrap();
        let gauge = gauges.iter().find(|gauge| gauge.lane == lane).unwrap();
        assert_eq!((view.ready, view.throttled, gauge.ready), (ready, 1 - ready, ready), "{lane}");
        assert_eq!(gauge.oldest_ready_seconds > 30.0, ready == 1, "{lane}");
    }
}

#[tokio::test]
async fn chunks_that_wait_for_a_connection_say_so_and_not_that_nobody_takes_them() {
    let mut stage = Stage::new().await;
    stage.settings.sending.transactional.reserved = 4;
    let route = stage.route(25).await;
    stage.execute("UPDATE routes SET max_connections = 8").await;
    stage
        .execute(
            "INSERT INTO jobs (id, kind, lane, flow, state, payload, run_at)
                 VALUES (gen_random_uuid(), 'SendChunk', 'bulk', 'x', 'queued', '{}', now() - interval '1 minute')",
        )
        .await;
    fleet::seen(&stage.pool, Uuid::now_v7(), "host", 1, &[(Lane::Bulk, 2)].into()).await.unwrap();
    let keyspace = Keyspace::new(&stage.settings.redis).unwrap();
    let open = async |leases: std::ops::Range<i32>, ends: &str| {
        for lease in leases {
            let key = connections::key(&keyspace, &connections::scope(route));
            redis::cmd("ZADD").arg(key).arg(ends).arg(lease).query_async::<()>(&mut keyspace.connection()).await.unwrap();
        }
        stuck::picture(&stage.pool, &stage.settings).await.unwrap()
    };
    open(10..20, "1").await;
    let free = open(0..5, "+inf").await;
    assert_eq!(
        (free.routes[0].taken, free.routes[0].for_campaigns),
        (Some(5), 6),
        "two of eight are for messages; what has ended is free"
    );
    assert_eq!(says(&free, "bulk"), ["1 jobs are ready, slots are free, and nobody takes them"]);
    let full = open(5..6, "+inf").await;
    assert_eq!(says(&full, "bulk"), ["1 jobs wait for a connection: all 6 that campaigns may have are taken on relay 25"]);
    let text = report::of(&full);
    assert!(text.contains("route     connections  of\nrelay 25            6   8\n"), "{text}");
    assert!(text.contains(&format!("PATCH /api/v1/routes/{route}")), "{text}");
}

#[tokio::test]
async fn a_trouble_that_is_over_is_no_reason_any_more() {
    let stage = Stage::new().await;
    enqueue(&stage, SendReset {}, Enqueue::default()).await;
    let again = async |outcome: Outcome| {
        stage.execute("UPDATE jobs SET state = 'queued', run_at = now()").await;
        let job = claim(Lane::Critical, None).take(&stage.pool).await.unwrap().expect("a job");
        let lease = Lease { job_id: job.id, epoch: job.lease_epoch };
        assert!(outcome::end(&stage.pool, lease, &outcome).await.unwrap());
        let picture = stuck::picture(&stage.pool, &stage.settings).await.unwrap();
        picture.lanes.into_iter().find(|view| view.lane == "critical").unwrap().trouble
    };
    let trouble = "no route that may be used".to_owned();
    assert_eq!(again(Outcome::Yielded { delay_ms: 60_000, error: Some(trouble.clone()) }).await, Some(trouble.clone()));
    assert_eq!(again(Outcome::Yielded { delay_ms: 60_000, error: None }).await, None);
    assert_eq!(again(Outcome::Retry { error: trouble.clone(), delay_ms: 60_000 }).await, Some(trouble));
    assert_eq!(again(Outcome::Snoozed(stage.clock.now())).await, None);
}

#[tokio::test]
async fn what_is_stuck_is_told_while_redis_is_down() {
    let mut stage = Stage::new().await;
    stage.settings.redis.url = "redis://127.0.0.1:1/0".to_owned().into();
    let picture = stuck::picture(&stage.pool, &stage.settings).await.unwrap();
    assert!(picture.redis.is_some());
    assert!(says(&picture, "redis")[0].starts_with("Redis does not answer ("), "{:?}", picture.findings);
    assert!(report::of(&picture).contains("redis DOWN"));
}

async fn dead_job(stage: &Stage, kind: &str, campaign: Option<Uuid>, hours: i32) -> Uuid {
    let id = Uuid::now_v7();
    sqlx::query(
        "INSERT INTO jobs (id, kind, lane, flow, campaign_id, state, payload, attempt, finished_at, last_error)
         VALUES ($1, $2, 'bulk', 'x', $3, 'dead', '{}', 3, now() - make_interval(hours => $4), 'broken')",
    )
    .bind(id)
    .bind(kind)
    .bind(campaign)
    .bind(hours)
    .execute(&stage.pool)
    .await
    .unwrap();
    id
}

#[tokio::test]
async fn dead_jobs_go_back_in_line_once_and_those_with_failed_recipients_stay() {
    let stage = Stage::new().await;
    let fixture = stage.campaign(&[("orchard.test", 2)]).await;
    let settled = dead_job(&stage, "SendChunk", Some(fixture.campaign_id), 1).await;
    stage
        .arrange(format!(
            "INSERT INTO chunks (id, campaign_id, contact_ids, finished_at)
                 SELECT '{settled}', '{0}', array_agg(id), now() FROM contacts;
             INSERT INTO deliveries (campaign_id, contact_id, chunk_id, lease_epoch, attempt_id, state, recipient, domain, reason)
                 SELECT '{0}', id, '{settled}', 0, 0, 'failed', email, domain, 'internal' FROM contacts",
            fixture.campaign_id
        ))
        .await;
    let (young, old) = (dead_job(&stage, "Tidy", None, 1).await, dead_job(&stage, "Tidy", None, 50).await);
    let everything = Dead::default();
    let recent = Dead { since: Some("2026-01-01T00:00:00Z".parse().unwrap()), kind: Some("Tidy".to_owned()), ..Dead::default() };
    assert_eq!(dead::plan(&stage.pool, &recent).await.unwrap().iter().map(|group| group.jobs).sum::<i64>(), 2);
    let plan = dead::plan(&stage.pool, &everything).await.unwrap();
    let told: Vec<(&str, i64, bool)> =
        plan.iter().map(|group| (group.kind.as_str(), group.jobs, group.refused.is_some())).collect();
    assert_eq!(told, [("SendChunk", 1, true), ("Tidy", 2, false)]);
    assert_eq!(plan[0].campaigns, [fixture.campaign_id]);
    assert_eq!(dead::requeue(&stage.pool, &Dead { id: Some(old), ..Dead::default() }).await.unwrap(), 1);
    assert_eq!(dead::requeue(&stage.pool, &everything).await.unwrap(), 1);
    assert_eq!(dead::requeue(&stage.pool, &everything).await.unwrap(), 0);
    for id in [young, old] {
        assert_eq!(stage.number("SELECT count(*) FROM jobs WHERE id = $1 AND state = 'queued' AND attempt = 0", id).await, 1);
    }
    // The campaign is not finished yet: it is passed over. Then it is, and its recipients are taken up.
    assert_eq!(dead::retry_recipients(&stage.pool, &plan).await.unwrap(), Vec::<Uuid>::new());
    stage.execute("UPDATE campaigns SET state = 'finished_with_failures', finished_at = now(), audience = 2").await;
    assert_eq!(dead::retry_recipients(&stage.pool, &plan).await.unwrap(), [fixture.campaign_id]);
    assert_eq!(
        stage.number("SELECT count(*) FROM jobs WHERE campaign_id = $1 AND kind = 'RetryRecipients'", fixture.campaign_id).await,
        1
    );
}

#[tokio::test]
async fn a_job_whose_worker_died_has_waited_since_then() {
    let stage = Stage::new().await;
    enqueue(&stage, SendReset {}, Enqueue::default()).await;
    let first = claim(Lane::Critical, None).take(&stage.pool).await.unwrap().unwrap();
    stage.execute("UPDATE jobs SET run_at = now() - interval '1 hour', lease_until = now() - interval '1 second'").await;
    assert_eq!(lease::reconcile(&stage.pool, 0).await.unwrap().requeued, 1);
    let second = claim(Lane::Critical, None).take(&stage.pool).await.unwrap().unwrap();
    assert!(second.run_at >= first.run_at, "{} is before {}", second.run_at, first.run_at);
    let lease = shared::queue::claim::Lease { job_id: second.id, epoch: second.lease_epoch };
    assert!(outcome::end(&stage.pool, lease, &Outcome::Succeeded(json!({}))).await.unwrap());
}
