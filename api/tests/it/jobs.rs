use insta::assert_json_snapshot;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::queue::{
    claim::{Claim, Lease},
    job::{self, Enqueue},
    lane::Lane,
    outcome::{self, Outcome},
    payload::Job,
};
use uuid::Uuid;

use crate::app::{Person, TestApp};

#[derive(Serialize, Deserialize)]
struct CountSheep {}

impl Job for CountSheep {
    const NAME: &'static str = "CountSheep";
    const LANE: Lane = Lane::Maintenance;
    const ATTEMPTS: i32 = 1;
}

async fn enqueued(app: &TestApp, workspace_id: Option<Uuid>) -> Uuid {
    let mut connection = app.stage.pool.acquire().await.expect("a connection");
    let options = Enqueue { workspace_id, progress_total: Some(200), ..Enqueue::default() };
    job::enqueue(&mut connection, &CountSheep {}, options).await.expect("a job")
}

/// Claims the one job that waits.
async fn claimed(app: &TestApp) -> Lease {
    let claim = Claim { lane: Lane::Maintenance, owner: Uuid::now_v7(), lease_seconds: 60, destination_cap: 1, hint: None };
    let job = claim.take(&app.stage.pool).await.expect("a claim").expect("a job");
    Lease { job_id: job.id, epoch: job.lease_epoch }
}

async fn died(app: &TestApp, error: &str) {
    let lease = claimed(app).await;
    let ended = outcome::end(&app.stage.pool, lease, &Outcome::Retry { error: error.to_owned(), delay_ms: 1 }).await;
    assert!(ended.expect("an outcome"));
}

async fn act(app: &TestApp, person: &Person, id: Uuid, verb: &str) -> crate::app::Answer {
    app.post(person, &format!("/jobs/{id}/{verb}"), json!({})).await
}

#[tokio::test]
async fn a_job_tells_how_far_it_is() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let id = enqueued(&app, Some(ann.workspace_id)).await;
    let lease = claimed(&app).await;
    outcome::progress(&app.stage.pool, lease, 50, None).await.expect("progress");
    let job = app.get(&ann, &format!("/jobs/{id}")).await.expect(200);
    assert_json_snapshot!(job, {
        ".id" => "…", ".workspace_id" => "…", ".run_at" => "…", ".created_at" => "…", ".started_at" => "…"
    }, @r#"
    {
      "attempt": 0,
      "campaign_id": null,
      "cancel_requested_at": null,
      "created_at": "…",
      "error": null,
      "finished_at": null,
      "id": "…",
      "kind": "CountSheep",
      "lane": "maintenance",
      "max_attempts": 1,
      "progress": {
        "done": 50,
        "percent": 25,
        "total": 200
      },
      "result": null,
      "run_at": "…",
      "started_at": "…",
      "state": "running",
      "workspace_id": "…"
    }
    "#);
}

#[tokio::test]
async fn a_waiting_job_is_cancelled_at_once_and_retried() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let id = enqueued(&app, Some(ann.workspace_id)).await;
    let cancelled = act(&app, &ann, id, "cancel").await.expect(200);
    assert_eq!(cancelled["state"], "cancelled");
    assert!(cancelled["finished_at"].is_string());
    act(&app, &ann, id, "cancel").await.problem(409);
    let retried = act(&app, &ann, id, "retry").await;
    assert_eq!(retried.headers["location"], format!("/api/v1/jobs/{id}"));
    assert_eq!(retried.expect(202)["state"], "queued");
    let conflict = act(&app, &ann, id, "retry").await.problem(409);
    assert_eq!(conflict["detail"], format!("job {id} is queued; only a failed, dead or cancelled one is retried"));
}

#[tokio::test]
async fn a_running_job_is_asked_to_stop() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let id = enqueued(&app, Some(ann.workspace_id)).await;
    let lease = claimed(&app).await;
    let asked = act(&app, &ann, id, "cancel").await.expect(202);
    assert_eq!(asked["state"], "running");
    assert!(asked["cancel_requested_at"].is_string());
    assert_eq!(outcome::progress(&app.stage.pool, lease, 1, None).await.expect("progress"), Some(true));
}

#[tokio::test]
async fn dead_jobs_are_listed_and_put_back_in_line() {
    let app = TestApp::new().await;
    let (admin, ann) = (app.admin().await, app.somebody().await);
    let id = enqueued(&app, Some(ann.workspace_id)).await;
    died(&app, "database: relation sheep does not exist").await;
    enqueued(&app, None).await;
    died(&app, "the house is on fire").await;

    assert_eq!(app.get(&admin, "/jobs?state=dead&kind=CountSheep&lane=maintenance").await.expect(200)["pagination"]["total"], 2);
    let letters = app.get(&ann, "/jobs?state=dead").await.expect(200);
    assert_eq!((&letters["pagination"]["total"], &letters["data"][0]["id"]), (&json!(1), &json!(id)));
    assert_eq!(letters["data"][0]["error"], "something failed on our side; it is logged under the job's id");

    act(&app, &ann, id, "retry").await.expect(202);
    app.post(&ann, "/jobs/requeue-dead", json!({})).await.problem(403);
    assert_eq!(app.post(&admin, "/jobs/requeue-dead", json!({ "lane": "bulk" })).await.expect(200)["requeued"], 0);
    assert_eq!(app.post(&admin, "/jobs/requeue-dead", json!({ "kind": "CountSheep" })).await.expect(200)["requeued"], 1);
    assert_eq!(
        app.call(Some(&admin), "POST".parse().expect("a method"), "/jobs/requeue-dead", None).await.expect(200)["requeued"],
        0
    );
}

#[tokio::test]
async fn a_client_cannot_touch_another_workspaces_job_nor_the_houses() {
    let app = TestApp::new().await;
    let (admin, ann, bob) = (app.admin().await, app.somebody().await, app.somebody().await);
    for id in [enqueued(&app, Some(ann.workspace_id)).await, enqueued(&app, None).await] {
        app.get(&bob, &format!("/jobs/{id}")).await.problem(403);
        act(&app, &bob, id, "cancel").await.problem(403);
        act(&app, &bob, id, "retry").await.problem(403);
        app.get(&admin, &format!("/jobs/{id}")).await.expect(200);
    }
    assert_eq!(app.get(&bob, "/jobs").await.expect(200)["pagination"]["total"], 0);
    app.get(&bob, &format!("/jobs/{}", Uuid::now_v7())).await.problem(404);
    assert_json_snapshot!(app.get(&bob, "/jobs?state=sleeping").await.problem(400)["errors"], @r#"
    [
      {
        "field": "state",
        "message": "must be one of scheduled, queued, running, succeeded, failed, cancelled, dead, not \"sleeping\""
      }
    ]
    "#);
    assert_json_snapshot!(app.get(&bob, "/jobs?lane=fast").await.problem(400)["errors"], @r#"
    [
      {
        "field": "lane",
        "message": "unknown variant `fast`, expected one of `critical`, `bulk`, `imports`, `leads`, `reports`, `sync`, `webhooks`, `maintenance`"
      }
    ]
    "#);
}
