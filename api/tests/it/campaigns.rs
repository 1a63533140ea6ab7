use axum::http::header;
use chrono::TimeDelta;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use shared::database;

use crate::shop::{Shop, text};

fn messages(problem: &Value) -> String {
    let errors = problem["errors"].as_array().expect("errors");
    errors.iter().map(|e| format!("{}: {}\n", text(&e["field"]), text(&e["message"]))).collect()
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

#[tokio::test]
async fn a_campaign_is_written_read_changed_and_deleted() {
    let shop = Shop::new().await;
    let body = with(shop.draft(), "route_id", json!(shop.route_id));
    let made = shop.app.post(&shop.owner, "/campaigns", body).await.expect(201);
    assert_json_snapshot!(made, {".id" => "", ".workspace_id" => "", ".list_ids" => "", ".route_id" => "", ".created_at" => "", ".updated_at" => ""}, @r#"
    {
      "audience": null,
      "complaint_warning_at": null,
      "created_at": "",
      "finished_at": null,
      "from": {
        "email": "news@shop.test",
        "name": "Shop"
      },
      "html": "<p>Hi {{ contact.name }} in {{ contact.attributes.city }}</p><a href=\"{{ unsubscribe_url }}\">stop</a>",
      "id": "",
      "launched_at": null,
      "list_ids": "",
      "name": "Spring",
      "pause_reason": null,
      "route_id": "",
      "scheduled_at": null,
      "state": "draft",
      "subject": "Hi {{ contact.name }}",
      "text": null,
      "updated_at": "",
      "workspace_id": ""
    }
    "#);
    let path = format!("/campaigns/{}", text(&made["id"]));
    assert_eq!(shop.app.get(&shop.owner, &path).await.expect(200), made);
    let change = json!({"subject": "Hello", "from": {"name": ""}, "text": "Hi", "route_id": null});
    let changed = shop.app.patch(&shop.owner, &path, change).await.expect(200);
    assert_eq!(
        (&changed["subject"], &changed["from"]["email"], &changed["route_id"]),
        (&json!("Hello"), &json!("news@shop.test"), &json!(null))
    );
    let list = shop.app.get(&shop.owner, "/campaigns?state=draft&search=HELL&date_from=2026-01-01").await.expect(200);
    assert_eq!((&list["pagination"]["total"], &list["data"][0]["id"], list["data"][0].get("html")), (&json!(1), &made["id"], None));
    for query in ["state=sending", "search=nothing", "date_to=2026-01-01"] {
        let list = shop.app.get(&shop.owner, &format!("/campaigns?{query}")).await.expect(200);
        assert_eq!(list["pagination"]["total"], 0, "{query}");
    }
    shop.app.delete(&shop.owner, &path).await.expect(204);
    shop.app.get(&shop.owner, &path).await.problem(404);
}

#[tokio::test]
async fn every_wrong_field_of_a_campaign_is_named_and_nothing_is_made() {
    let shop = Shop::new().await;
    let other = shop.app.stage.workspace("Other").await;
    let other = shop.app.client(other).await;
    let foreign = text(&shop.app.post(&other, "/lists", json!({"name": "Theirs"})).await.expect(201)["id"]);
    let nobody = "0190f5fe-0000-7000-8000-000000000001";
    let wrong = json!({
        "name": " ",
        "subject": "x".repeat(201),
        "from": {"name": "Shop\r\nBcc: x@y.test", "email": "a@b..c"},
        "html": "<p>\n{{ contact.nmae }}",
        "text": "{% if %}",
        "list_ids": [nobody],
        "route_id": nobody,
        "scheduled_at": "2026-01-15T11:59:59Z",
    });
    let problem = shop.app.post(&shop.owner, "/campaigns", wrong).await.problem(400);
    insta::assert_snapshot!(messages(&problem), @r#"
    name: must be 1 to 200 characters, not 1
    subject: must be 1 to 200 characters, not 201
    from.name: holds a control character: Shop\r\nBcc: x@y.test
    from.email: "a@b..c" has a misplaced dot in its domain
    html: line 2: there is no variable contact.nmae; there are contact.email, contact.name, contact.attributes.*, campaign.name and unsubscribe_url
    text: line 1: syntax error: unexpected end of block
    scheduled_at: must be in the future, not 2026-01-15T11:59:59+00:00
    list_ids: list 0190f5fe-0000-7000-8000-000000000001 does not exist
    route_id: route 0190f5fe-0000-7000-8000-000000000001 does not exist
    "#);
    shop.app.post(&shop.owner, "/campaigns", with(shop.draft(), "list_ids", json!([shop.list_id, foreign]))).await.problem(403);
    let refused = [
        with(shop.draft(), "from", json!({"email": "a@b.test\r\nBcc: c@d.test"})),
        with(shop.draft(), "from", json!("news@shop.test")),
        with(shop.draft(), "list_ids", json!([])),
        with(shop.draft(), "list_ids", json!(["not-a-uuid"])),
        with(shop.draft(), "html", json!("")),
        with(shop.draft(), "html", json!("x".repeat(1_048_577))),
        with(shop.draft(), "html", json!("\u{0}")),
        with(shop.draft(), "name", json!(5)),
        with(shop.draft(), "scheduled_at", json!("yesterday")),
        with(shop.draft(), "colour", json!("red")),
    ];
    for body in refused {
        let problem = shop.app.post(&shop.owner, "/campaigns", body.clone()).await.problem(400);
        assert_eq!(problem["errors"].as_array().map(Vec::len), Some(1), "{problem}");
    }
    for query in ["page=0", "limit=100000", "state=sent", "date_from=soon", "colour=red"] {
        shop.app.get(&shop.owner, &format!("/campaigns?{query}")).await.problem(400);
    }
    assert_eq!(shop.app.get(&shop.owner, "/campaigns").await.expect(200)["pagination"]["total"], 0);
}

#[tokio::test]
async fn a_change_that_is_refused_changes_nothing() {
    let shop = Shop::new().await;
    let path = format!("/campaigns/{}", shop.campaign().await);
    let before = shop.app.get(&shop.owner, &path).await.expect(200);
    let problem = shop.app.patch(&shop.owner, &path, json!({"name": "New", "html": "{{ nothing }}"})).await.problem(400);
    assert_eq!(problem["errors"][0]["field"], "html");
    assert_eq!(shop.app.get(&shop.owner, &path).await.expect(200), before);
}

#[tokio::test]
async fn an_unknown_campaign_is_404_and_another_workspaces_403() {
    let shop = Shop::new().await;
    let campaign = shop.campaign().await;
    let stranger = shop.app.somebody().await;
    for action in ["send", "pause", "resume", "cancel", "retry-failed", "resend-unknown"] {
        shop.app.post(&stranger, &format!("/campaigns/{campaign}/{action}"), json!(null)).await.problem(403);
        shop.app
            .post(&shop.owner, &format!("/campaigns/0190f5fe-0000-7000-8000-000000000001/{action}"), json!(null))
            .await
            .problem(404);
        shop.app.post(&shop.owner, &format!("/campaigns/seven/{action}"), json!(null)).await.problem(400);
    }
    for question in ["", "/progress", "/recipients", "/deliveries", "/deliveries?format=csv"] {
        shop.app.get(&stranger, &format!("/campaigns/{campaign}{question}")).await.problem(403);
        shop.app.get(&shop.owner, &format!("/campaigns/0190f5fe-0000-7000-8000-000000000001{question}")).await.problem(404);
    }
    shop.app.patch(&stranger, &format!("/campaigns/{campaign}"), json!({"name": "Mine"})).await.problem(403);
    shop.app.delete(&stranger, &format!("/campaigns/{campaign}")).await.problem(403);
    let preview = json!({"contact_id": shop.contact_ids[0]});
    shop.app.post(&stranger, &format!("/campaigns/{campaign}/preview"), preview).await.problem(403);
    shop.app.post(&stranger, &format!("/campaigns/{campaign}/test"), json!({"to": ["a@b.test"]})).await.problem(403);
    assert_eq!(shop.jobs("LaunchCampaign").await, 0);
}

#[tokio::test]
async fn a_campaign_that_is_sent_twice_is_launched_once() {
    let shop = Shop::new().await;
    let path = format!("/campaigns/{}", shop.campaign().await);
    let send = format!("{path}/send");
    let (first, second) =
        tokio::join!(shop.app.post(&shop.owner, &send, json!(null)), shop.app.post(&shop.owner, &send, json!(null)));
    let (sent, refused) = if first.status == 202 { (first, second) } else { (second, first) };
    let body = sent.expect(202);
    assert_eq!(body["state"], "sending");
    assert_eq!(sent.headers[header::LOCATION], format!("/api/v1/jobs/{}", text(&body["job_id"])).as_str());
    assert!(text(&refused.problem(409)["detail"]).contains("is sending: only a draft"));
    assert_eq!(shop.jobs("LaunchCampaign").await, 1);
    shop.app.patch(&shop.owner, &path, json!({"name": "Late"})).await.problem(409);
    shop.app.delete(&shop.owner, &path).await.problem(409);
}

#[tokio::test]
async fn a_campaign_that_could_reach_nobody_is_not_sent() {
    let shop = Shop::new().await;
    let campaign = shop.campaign().await;
    for contact in &shop.contact_ids {
        shop.app.patch(&shop.owner, &format!("/contacts/{contact}"), json!({"state": "unsubscribed"})).await.expect(200);
    }
    let problem = shop.app.post(&shop.owner, &format!("/campaigns/{campaign}/send"), json!(null)).await.problem(400);
    assert_eq!(messages(&problem), "list_ids: nobody on these lists is subscribed\n");
    assert_eq!(shop.app.get(&shop.owner, &format!("/campaigns/{campaign}")).await.expect(200)["state"], "draft");
    assert_eq!(shop.jobs("LaunchCampaign").await, 0);
}

#[tokio::test]
async fn a_campaign_without_a_way_out_or_that_does_not_render_is_not_sent() {
    let shop = Shop::new().await;
    let body = with(shop.draft(), "html", json!("{{ contact.attributes.city + 1 }}"));
    let broken = text(&shop.app.post(&shop.owner, "/campaigns", body).await.expect(201)["id"]);
    let problem = shop.app.post(&shop.owner, &format!("/campaigns/{broken}/send"), json!(null)).await.problem(400);
    assert!(messages(&problem).starts_with("html: does not render for contact "), "{problem}");
    let pinned = with(shop.draft(), "route_id", json!(shop.route_id));
    let pinned = text(&shop.app.post(&shop.owner, "/campaigns", pinned).await.expect(201)["id"]);
    let free = shop.campaign().await;
    shop.app.delete(&shop.admin, &format!("/routes/{}", shop.route_id)).await.expect(204);
    let problem = shop.app.post(&shop.owner, &format!("/campaigns/{pinned}/send"), json!(null)).await.problem(400);
    assert_eq!(messages(&problem), format!("route_id: route {} is disabled\n", shop.route_id));
    shop.app.post(&shop.owner, &format!("/campaigns/{free}/send"), json!(null)).await.problem(409);
    assert_eq!(shop.jobs("LaunchCampaign").await, 0);
}

#[tokio::test]
async fn a_scheduled_campaign_is_launched_when_its_time_comes() {
    let shop = Shop::new().await;
    let body = with(shop.draft(), "scheduled_at", json!("2026-01-15T12:30:00Z"));
    let campaign = text(&shop.app.post(&shop.owner, "/campaigns", body).await.expect(201)["id"]);
    let sent = shop.app.post(&shop.owner, &format!("/campaigns/{campaign}/send"), json!(null)).await.expect(202);
    assert_eq!((&sent["state"], &sent["job_id"]), (&json!("scheduled"), &json!(null)));
    let (clock, pool) = (&shop.app.stage.clock, &shop.app.stage.pool);
    let launch_due = async || {
        let mut transaction = database::begin(pool).await.expect("a transaction");
        let due = shared::campaigns::transitions::launch_due(&mut transaction, clock.now()).await.expect("launched");
        transaction.commit().await.expect("committed");
        due.len()
    };
    assert_eq!(launch_due().await, 0);
    clock.advance(TimeDelta::minutes(30));
    assert_eq!(launch_due().await, 1);
    assert_eq!(launch_due().await, 0);
    assert_eq!(shop.app.get(&shop.owner, &format!("/campaigns/{campaign}")).await.expect(200)["state"], "sending");
    assert_eq!(shop.jobs("LaunchCampaign").await, 1);
}

#[tokio::test]
async fn a_scheduled_campaign_that_loses_its_date_is_a_draft_again() {
    let shop = Shop::new().await;
    let body = with(shop.draft(), "scheduled_at", json!("2026-01-15T12:30:00Z"));
    let path = format!("/campaigns/{}", text(&shop.app.post(&shop.owner, "/campaigns", body).await.expect(201)["id"]));
    shop.app.post(&shop.owner, &format!("{path}/send"), json!(null)).await.expect(202);
    let changed = shop.app.patch(&shop.owner, &path, json!({"scheduled_at": null})).await.expect(200);
    assert_eq!((&changed["state"], &changed["scheduled_at"]), (&json!("draft"), &json!(null)));
}

#[tokio::test]
async fn every_action_knows_the_states_that_it_fits() {
    let shop = Shop::new().await;
    let campaign = shop.campaign().await;
    let fits = |action: &str, state: &str| match action {
        "send" => matches!(state, "draft" | "scheduled"),
        "pause" => state == "sending",
        "resume" => state == "paused",
        "cancel" => matches!(state, "scheduled" | "sending" | "paused"),
        _ => matches!(state, "finished" | "finished_with_failures"),
    };
    shop.deliver(&campaign, ["failed", "unknown"]).await;
    for state in ["draft", "scheduled", "sending", "paused", "finished", "finished_with_failures", "cancelled"] {
        for action in ["send", "pause", "resume", "cancel", "retry-failed", "resend-unknown"] {
            shop.put_into(&campaign, state).await;
            let answer = shop.app.post(&shop.owner, &format!("/campaigns/{campaign}/{action}"), json!(null)).await;
            if fits(action, state) {
                answer.expect(202);
            } else {
                let problem = answer.problem(409);
                assert!(text(&problem["detail"]).contains(&format!("is {state}:")), "{action}: {problem}");
            }
        }
    }
}

#[tokio::test]
async fn a_second_try_is_refused_where_nobody_needs_one() {
    let shop = Shop::new().await;
    let campaign = shop.campaign().await;
    shop.deliver(&campaign, ["accepted", "failed"]).await;
    shop.put_into(&campaign, "finished_with_failures").await;
    let refused = shop.app.post(&shop.owner, &format!("/campaigns/{campaign}/resend-unknown"), json!(null)).await.problem(409);
    assert!(text(&refused["detail"]).ends_with("has no recipients that are unknown"));
    let taken_up = shop.app.post(&shop.owner, &format!("/campaigns/{campaign}/retry-failed"), json!(null)).await.expect(202);
    assert_eq!(taken_up["state"], "sending");
    assert_eq!((shop.jobs("RetryRecipients").await, shop.jobs("CancelRecipients").await), (1, 0));
}

#[tokio::test]
async fn a_preview_shows_what_one_contact_would_read() {
    let shop = Shop::new().await;
    let path = format!("/campaigns/{}/preview", shop.campaign().await);
    let shown = shop.app.post(&shop.owner, &path, json!({"contact_id": shop.contact_ids[1]})).await.expect(200);
    assert_json_snapshot!(shown, @r#"
    {
      "html": "<p>Hi Zoë &lt;b&gt; in Genève</p><a href=\"http://127.0.0.1:8080/u/preview\">stop</a>",
      "subject": "Hi Zoë <b>",
      "text": "Hi Zoë <b> in Genève\n\nstop (http://127.0.0.1:8080/u/preview)"
    }
    "#);
    shop.app.post(&shop.owner, &path, json!({"contact_id": "0190f5fe-0000-7000-8000-000000000001"})).await.problem(404);
}

#[tokio::test]
async fn a_test_goes_to_at_most_five_good_addresses() {
    let shop = Shop::new().await;
    let path = format!("/campaigns/{}/test", shop.campaign().await);
    for to in [json!([]), json!(["a@b.test", "a@b..c"]), json!(vec!["a@b.test"; 6]), json!(["a@b.test\r\nRCPT TO:<c@d.test>"])] {
        shop.app.post(&shop.owner, &path, json!({"to": to})).await.problem(400);
    }
    assert_eq!(shop.jobs("SendTest").await, 0);
    let sent = shop.app.post(&shop.owner, &path, json!({"to": ["Ann@Shop.test"]})).await.expect(202);
    assert_eq!((&sent["state"], shop.jobs("SendTest").await), (&json!("draft"), 1));
}

#[tokio::test]
async fn recipients_are_the_current_members_before_the_launch_and_the_frozen_ones_after() {
    let shop = Shop::new().await;
    let campaign = shop.campaign().await;
    let path = format!("/campaigns/{campaign}/recipients");
    shop.app.patch(&shop.owner, &format!("/contacts/{}", shop.contact_ids[0]), json!({"state": "blocked"})).await.expect(200);
    let before = shop.app.get(&shop.owner, &path).await.expect(200);
    assert_eq!((&before["pagination"]["total"], &before["data"][0]["email"]), (&json!(1), &json!("zoe@two.test")));
    shop.deliver(&campaign, ["accepted", "pending"]).await;
    let after = shop.app.get(&shop.owner, &path).await.expect(200);
    assert_json_snapshot!(after, {".data[].contact_id" => ""}, @r#"
    {
      "data": [
        {
          "contact_id": "",
          "email": "zoe@two.test",
          "name": "Zoë <b>",
          "state": "pending"
        },
        {
          "contact_id": "",
          "email": "ada@one.test",
          "name": "Ada",
          "state": "accepted"
        }
      ],
      "pagination": {
        "has_next": false,
        "has_prev": false,
        "limit": 20,
        "page": 1,
        "total": 2,
        "total_pages": 1
      }
    }
    "#);
}

#[tokio::test]
async fn progress_adds_up_to_the_audience() {
    let shop = Shop::new().await;
    let campaign = shop.campaign().await;
    let path = format!("/campaigns/{campaign}/progress");
    let before = shop.app.get(&shop.owner, &path).await.expect(200);
    assert_eq!((&before["state"], &before["audience"], &before["pending"]), (&json!("draft"), &json!(null), &json!(0)));
    shop.deliver(&campaign, ["accepted", "sending"]).await;
    shop.put_into(&campaign, "sending").await;
    let during = shop.app.get(&shop.owner, &path).await.expect(200);
    assert_json_snapshot!(during, @r#"
    {
      "accepted": 1,
      "audience": 2,
      "bounced": 0,
      "cancelled": 0,
      "complained": 0,
      "deferred": 0,
      "destinations": [
        {
          "accepted": 0,
          "bounced": 0,
          "cancelled": 0,
          "deferred": 0,
          "domain": "two.test",
          "failed": 0,
          "in_flight": 1,
          "suppressed": 0,
          "unknown": 0
        },
        {
          "accepted": 1,
          "bounced": 0,
          "cancelled": 0,
          "deferred": 0,
          "domain": "one.test",
          "failed": 0,
          "in_flight": 0,
          "suppressed": 0,
          "unknown": 0
        }
      ],
      "eta_seconds": 10.0,
      "failed": 0,
      "in_flight": 1,
      "pending": 0,
      "rate_per_second": 0.1,
      "state": "sending",
      "suppressed": 0,
      "unknown": 0
    }
    "#);
}
