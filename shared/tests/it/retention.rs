//! What is removed when its time is over, and what stays.

use std::time::Duration;

use chrono::TimeDelta;
use metrics_exporter_prometheus::PrometheusBuilder;
use shared::{
    accounts::scope::Scope,
    campaigns::progress,
    deliveries::{
        chunk, doubt,
        ledger::{self, Outcome, State},
        retention,
        sweep::{self, Swept},
        tally,
    },
    imports::sweep as imports,
    queue::prune,
    store::Store,
    testing::Stage,
};
use uuid::Uuid;

/// A campaign of so many recipients that ended at the stage's time: accepted, but for one bounced and one in doubt.
async fn finished(stage: &Stage, recipients: i32) -> (Uuid, Scope) {
    let fixture = stage.campaign(&[("orchard.test", recipients)]).await;
    let id = fixture.campaign_id;
    let at = stage.clock.now().to_rfc3339();
    stage
        .arrange(format!(
            "INSERT INTO deliveries (campaign_id, contact_id, chunk_id, lease_epoch, attempt_id, state, recipient, domain)
                 SELECT '{id}', id, '{id}', 1, 7, CASE row_number() OVER (ORDER BY id) WHEN 1 THEN 'bounced' WHEN 2 THEN 'unknown' ELSE 'accepted' END,
                        email, domain FROM contacts;
             INSERT INTO chunks (id, campaign_id, contact_ids, finished_at)
                 SELECT '{id}', '{id}', (array_agg(id))[1:10], '{at}' FROM contacts;
             UPDATE campaigns SET state = 'finished_with_failures', audience = {recipients}, finished_at = '{at}' WHERE id = '{id}';
             UPDATE jobs SET state = 'succeeded', finished_at = '{at}' WHERE campaign_id = '{id}'"
        ))
        .await;
    (id, Scope::client(fixture.workspace_id))
}

#[tokio::test]
async fn a_campaigns_figures_are_the_same_after_its_rows_are_gone() {
    let stage = Stage::new().await;
    let (id, scope) = finished(&stage, 12_000).await;
    let before = tally::count(&stage.pool, id).await.unwrap();
    assert_eq!((before.accepted, before.bounced, before.unknown), (11_998, 1, 1));
    assert_eq!(retention::remove(&stage.pool, stage.clock.now()).await.unwrap(), 0, "not yet");
    stage.clock.advance(TimeDelta::days(1));
    // Two at once: each row is counted once.
    let (first, second) =
        tokio::join!(retention::remove(&stage.pool, stage.clock.now()), retention::remove(&stage.pool, stage.clock.now()));
    let rest = retention::remove(&stage.pool, stage.clock.now()).await.unwrap();
    assert_eq!(first.unwrap() + second.unwrap() + rest, 12_000);
    assert_eq!(tally::count(&stage.pool, id).await.unwrap(), before);
    let progress = progress::of(&stage.pool, scope, id).await.unwrap();
    assert_eq!((progress.accepted, progress.bounced, progress.unknown, progress.pending), (11_998, 1, 1, 0));
    for sql in ["SELECT count(*) FROM deliveries WHERE campaign_id = $1", "SELECT count(*) FROM chunks WHERE campaign_id = $1"] {
        assert_eq!(stage.number(sql, id).await, 0);
    }
    assert_eq!(stage.number("SELECT count(*) FROM delivery_tallies WHERE done_at IS NOT NULL AND campaign_id = $1", id).await, 1);
    assert_eq!(retention::remove(&stage.pool, stage.clock.now()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_late_fact_in_the_middle_of_the_removal_is_counted_once() {
    let stage = Stage::new().await;
    let (id, _) = finished(&stage, 6_000).await;
    stage
        .execute(
            "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         IF (SELECT sum(accepted + bounced + unknown) FROM delivery_tallies) > 5000 THEN RAISE EXCEPTION 'the process died'; END IF; RETURN NULL; END $$;
         CREATE TRIGGER stop AFTER DELETE ON deliveries FOR EACH STATEMENT EXECUTE FUNCTION stop()",
        )
        .await;
    stage.clock.advance(TimeDelta::days(1));
    assert!(retention::remove(&stage.pool, stage.clock.now()).await.is_err(), "it dies in the second slice");
    stage.execute("DROP TRIGGER stop ON deliveries").await;
    let half = tally::count(&stage.pool, id).await.unwrap();
    assert_eq!((half.sum(), half.pending), (6_000, 0));
    assert_eq!(stage.number("SELECT count(*) FROM deliveries WHERE campaign_id = $1", id).await, 1_000);
    let contact: Uuid =
        sqlx::query_scalar("SELECT contact_id FROM deliveries ORDER BY contact_id LIMIT 1").fetch_one(&stage.pool).await.unwrap();
    stage
        .execute("UPDATE deliveries SET state = 'unknown' WHERE contact_id = (SELECT min(contact_id::text)::uuid FROM deliveries)")
        .await;
    let fact = Outcome {
        campaign_id: id,
        contact_id: contact,
        attempt_id: 7,
        route_id: Uuid::nil(),
        state: State::Bounced,
        released: false,
        smtp_code: Some(550),
        enhanced_code: None,
        response: None,
        reason: None,
        delay_seconds: 0.0,
    };
    assert_eq!(ledger::record(&mut stage.pool.acquire().await.unwrap(), &[fact]).await.unwrap(), 1);
    // It is open again: nothing of it is removed until it is over once more.
    assert_eq!(retention::remove(&stage.pool, stage.clock.now()).await.unwrap(), 0);
    let open = tally::count(&stage.pool, id).await.unwrap();
    assert_eq!((open.sum(), open.bounced), (6_000, 2));
    let before = stage.clock.now() - TimeDelta::hours(1);
    stage.arrange(format!("UPDATE campaigns SET state = 'finished', finished_at = '{}'", before.to_rfc3339())).await;
    assert_eq!(retention::remove(&stage.pool, stage.clock.now()).await.unwrap(), 1_000);
    assert_eq!(tally::count(&stage.pool, id).await.unwrap(), open);
}

#[tokio::test]
async fn old_jobs_and_attempts_go_and_the_dead_stay() {
    let stage = Stage::new().await;
    let at = stage.clock.now().to_rfc3339();
    stage
        .arrange(format!(
            "INSERT INTO jobs (id, kind, lane, flow, state, payload, finished_at)
                 SELECT gen_random_uuid(), 'Tidy', 'maintenance', 'x', state, '{{}}', '{at}'
                 FROM unnest(ARRAY['succeeded', 'failed', 'cancelled', 'dead']) AS s (state), generate_series(1, 700);
             INSERT INTO job_attempts (job_id, lease_epoch, worker_id, outcome, created_at)
                 SELECT id, 1, id, state, '{at}' FROM jobs WHERE state = 'dead';
             INSERT INTO job_attempts (job_id, lease_epoch, worker_id, created_at) SELECT id, 2, id, '{at}' FROM jobs WHERE state = 'dead' LIMIT 1"
        ))
        .await;
    assert_eq!(prune::finished(&stage.pool, stage.clock.now()).await.unwrap(), 0);
    assert_eq!(prune::attempts(&stage.pool, stage.clock.now()).await.unwrap(), 0);
    stage.clock.advance(TimeDelta::seconds(1));
    assert_eq!(prune::finished(&stage.pool, stage.clock.now()).await.unwrap(), 2_100);
    assert_eq!(prune::attempts(&stage.pool, stage.clock.now()).await.unwrap(), 700);
    assert_eq!(stage.number("SELECT count(*) FROM jobs WHERE state = 'dead'", Uuid::nil()).await, 700);
    assert_eq!(stage.number("SELECT count(*) FROM job_attempts WHERE outcome IS NULL", Uuid::nil()).await, 1, "it runs");
}

#[tokio::test]
async fn old_uploads_go_with_what_no_import_names_and_the_figures_stay() {
    let stage = Stage::new().await;
    let store = Store::from_settings(&stage.settings.store).unwrap();
    let workspace = stage.workspace("sample").await;
    for name in ["old", "running", "orphan"] {
        let mut writer = store.writer(&format!("imports/{workspace}/{name}.csv"));
        writer.write("email\n".into()).await.unwrap();
        writer.finish().await.unwrap();
    }
    let at = stage.clock.now().to_rfc3339();
    stage
        .arrange(format!(
            "INSERT INTO imports (id, workspace_id, target, state, file_name, object_key, rows_created, finished_at)
                 VALUES (gen_random_uuid(), '{workspace}', 'contacts', 'finished', 'old', 'imports/{workspace}/old.csv', 5, '{at}'),
                        (gen_random_uuid(), '{workspace}', 'contacts', 'running', 'running', 'imports/{workspace}/running.csv', 1, NULL)"
        ))
        .await;
    assert_eq!(imports::files(&stage.pool, &store, stage.clock.now()).await.unwrap(), 0);
    stage.clock.advance(TimeDelta::seconds(1));
    assert_eq!(imports::files(&stage.pool, &store, stage.clock.now()).await.unwrap(), 1);
    assert_eq!(imports::files(&stage.pool, &store, stage.clock.now()).await.unwrap(), 0);
    assert_eq!(stage.number("SELECT sum(rows_created)::bigint FROM imports", Uuid::nil()).await, 6);
    // The files' times are the system's: the stage's clock stands before them.
    assert_eq!(imports::orphans(&stage.pool, &store, "imports", stage.clock.now()).await.unwrap(), 0, "they are younger");
    let later = shared::clock::Clock::system().now() + TimeDelta::from_std(Duration::from_secs(60)).unwrap();
    assert_eq!(imports::orphans(&stage.pool, &store, "imports", later).await.unwrap(), 1);
    let mut left = Vec::new();
    for name in ["old", "running", "orphan"] {
        left.push(store.size(&format!("imports/{workspace}/{name}.csv")).await.unwrap().is_some());
    }
    assert_eq!(left, [false, true, false]);
}

#[tokio::test]
async fn whoever_ends_away_from_the_wire_is_counted_too() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _local = metrics::set_default_local_recorder(&recorder);
    let stage = Stage::new().await;
    let id = stage.campaign(&[("orchard.test", 6)]).await.campaign_id;
    let row = |n: i32, state: &str, more: &str| {
        format!(
            "INSERT INTO deliveries (campaign_id, contact_id, chunk_id, lease_epoch, attempt_id, state, recipient, domain, updated_at, created_at, next_attempt_at)
             SELECT '{id}', id, '{id}', 1, 7, '{state}', email, domain, now() - interval '9 days', now() - interval '9 days', {more}
             FROM (SELECT * FROM contacts ORDER BY id OFFSET {n} LIMIT 1) c;"
        )
    };
    stage.arrange(row(0, "sending", "NULL") + &row(1, "deferred", "now() - interval '1 hour'")).await;
    assert_eq!(doubt::left_over(&stage.pool, id, 1.0).await.unwrap(), 1);
    let swept = sweep::deferred(&stage.pool, &stage.settings.sending).await.unwrap();
    assert_eq!(swept, Swept { expired: 1, ..Swept::default() });
    stage
        .arrange(format!(
            "INSERT INTO chunks (id, campaign_id, contact_ids) SELECT '{id}', '{id}', array_agg(id) FROM (SELECT id FROM contacts ORDER BY id OFFSET 2) c"
        ))
        .await;
    assert_eq!(chunk::settle_orphans(&stage.pool).await.unwrap(), 1);
    let text = recorder.handle().render();
    for line in ["deliveries_total{route=\"\",outcome=\"unknown\"} 1", "deliveries_total{route=\"\",outcome=\"failed\"} 5"] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}
