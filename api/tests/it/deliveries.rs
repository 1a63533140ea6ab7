use axum::{
    body::Body,
    http::{Request, header},
};
use insta::assert_json_snapshot;
use serde_json::json;

use crate::shop::{Shop, text};

#[tokio::test]
async fn deliveries_are_told_with_their_replies_and_stable_message_ids() {
    let shop = Shop::new().await;
    let campaign = shop.campaign().await;
    shop.deliver(&campaign, ["accepted", "sending"]).await;
    let path = format!("/campaigns/{campaign}/deliveries");
    let all = shop.app.get(&shop.owner, &path).await.expect(200);
    let plain = |id: &str| id.replace('-', "");
    assert_eq!(all["data"][1]["message_id"], format!("<{}.{}@shop.test>", plain(&shop.contact_ids[0]), plain(&campaign)));
    assert_json_snapshot!(all["data"][0], {".contact_id" => "", ".message_id" => "", ".first_attempt_at" => "", ".last_attempt_at" => ""}, @r#"
    {
      "attempts": 1,
      "complained_at": null,
      "contact_id": "",
      "enhanced_code": "2.0.0",
      "first_attempt_at": "",
      "last_attempt_at": "",
      "message_id": "",
      "next_attempt_at": null,
      "reason": null,
      "recipient": "zoe@two.test",
      "response": "250 2.0.0 \"ok\", queued",
      "route_id": null,
      "smtp_code": 250,
      "state": "in_flight"
    }
    "#);
    for (query, found) in [
        ("state=in_flight", 1),
        ("state=accepted", 1),
        ("state=failed", 0),
        ("search=ONE.test", 1),
        ("search=%25", 0),
        ("state=complained", 0),
    ] {
        let page = shop.app.get(&shop.owner, &format!("{path}?{query}")).await.expect(200);
        assert_eq!(page["pagination"]["total"], found, "{query}");
    }
    for query in ["state=sent", "page=0", "limit=101", "format=xml"] {
        shop.app.get(&shop.owner, &format!("{path}?{query}")).await.problem(400);
    }
}

#[tokio::test]
async fn the_file_holds_every_row_and_quotes_what_needs_it() {
    let shop = Shop::new().await;
    let campaign = shop.campaign().await;
    shop.deliver(&campaign, ["accepted", "failed"]).await;
    shop.app
        .stage
        .arrange(format!(
            "INSERT INTO deliveries (campaign_id, contact_id, chunk_id, lease_epoch, attempt_id, state, recipient, domain)
             SELECT '{campaign}', uuid_v7(), uuid_v7(), 1, 1, 'suppressed', 'x' || n || '@three.test', 'three.test'
             FROM generate_series(1, 4500) AS n"
        ))
        .await;
    let request = Request::builder()
        .uri(format!("/api/v1/campaigns/{campaign}/deliveries"))
        .header(header::AUTHORIZATION, format!("Bearer {}", shop.owner.token))
        .header(header::ACCEPT, "text/csv");
    let answer = shop.app.send(request.body(Body::empty()).expect("a request")).await;
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/csv; charset=utf-8");
    let file = String::from_utf8(answer.body).expect("UTF-8");
    assert_eq!(file.lines().count(), 1 + 4502);
    assert_eq!(
        file.lines().next(),
        Some(
            "recipient,state,attempts,smtp_code,enhanced_code,response,reason,message_id,first_attempt_at,last_attempt_at,next_attempt_at,contact_id,complained_at"
        )
    );
    assert!(file.contains(r#"ada@one.test,accepted,1,250,2.0.0,"250 2.0.0 ""ok"", queued",,<"#), "{}", &file[..400]);
    let failed = shop.app.get(&shop.owner, &format!("/campaigns/{campaign}/deliveries?format=csv&state=failed")).await;
    assert_eq!(String::from_utf8(failed.body).expect("UTF-8").lines().count(), 2);
}

#[tokio::test]
async fn the_limits_of_a_destination_are_set_lifted_and_seen_by_admins_alone() {
    let shop = Shop::new().await;
    let path = "/destinations/Bücher.test/limits".replace('ü', "%C3%BC");
    shop.app.put(&shop.owner, &path, json!({"rate_per_second": 5})).await.problem(403);
    for body in [json!({"rate_per_second": 0}), json!({"max_connections": 0}), json!({"max_connections": 1.5}), json!({"speed": 1})]
    {
        shop.app.put(&shop.admin, &path, body).await.problem(400);
    }
    shop.app.put(&shop.admin, "/destinations/nodot/limits", json!({})).await.problem(400);
    let set = shop.app.put(&shop.admin, &path, json!({"rate_per_second": 5, "max_connections": 2})).await.expect(200);
    assert_json_snapshot!(set, {".updated_at" => ""}, @r#"
    {
      "accepted_per_second": 0.0,
      "adaptive_rate": null,
      "allowed_connections": 2,
      "allowed_per_second": 5.0,
      "cooldown_until": null,
      "domain": "xn--bcher-kva.test",
      "in_flight": 0,
      "last_day": {
        "accepted": 0,
        "deferred": 0,
        "failed": 0
      },
      "last_reply": null,
      "max_connections": 2,
      "oldest_at": null,
      "provider": null,
      "queued": 0,
      "rate_per_second": 5.0,
      "reason": null,
      "rule": null,
      "slowed_at": null,
      "suspended_until": null,
      "this_hour": {
        "accepted": 0,
        "deferred": 0,
        "failed": 0
      },
      "updated_at": ""
    }
    "#);
    let domain = text(&set["domain"]);
    shop.app.stage.arrange(format!("UPDATE destinations SET cooldown_until = now() + interval '1 h', adaptive_rate = 1, reason = 'throttling replies' WHERE domain = '{domain}'")).await;
    let resumed = shop.app.post(&shop.admin, &format!("/destinations/{domain}/resume"), json!(null)).await.expect(200);
    assert_eq!(
        (&resumed["cooldown_until"], &resumed["adaptive_rate"], &resumed["rate_per_second"]),
        (&json!(null), &json!(null), &json!(5.0))
    );
    let cleared = shop.app.put(&shop.admin, &path, json!({"rate_per_second": null})).await.expect(200);
    assert_eq!((&cleared["rate_per_second"], &cleared["max_connections"]), (&json!(null), &json!(null)));
    assert_eq!(shop.app.get(&shop.admin, "/destinations?search=cher").await.expect(200)["pagination"]["total"], 1);
    shop.app.post(&shop.admin, "/destinations/unknown.test/resume", json!(null)).await.problem(404);
}

#[tokio::test]
async fn a_provider_is_seen_with_its_domains_suspended_with_a_reason_and_resumed() {
    let shop = Shop::new().await;
    let app = &shop.app;
    app.stage
        .arrange(
            "INSERT INTO destination_hours (domain, hour, accepted) VALUES ('gmail.com', date_trunc('hour', now(), 'UTC'), 40),
                 ('company.test', date_trunc('hour', now(), 'UTC'), 2);
             INSERT INTO recipient_domains (domain, mail_hosts, answer, expires_at)
             VALUES ('company.test', '{aspmx.l.google.com}', 'hosts', now() + interval '1 day')"
                .to_owned(),
        )
        .await;
    let google = "/destinations/provider:google";
    let seen = app.get(&shop.admin, google).await.expect(200);
    assert_eq!((&seen["this_hour"]["accepted"], &seen["allowed_connections"]), (&json!(42), &json!(5)));
    let domain = app.get(&shop.admin, "/destinations/company.test").await.expect(200);
    assert_eq!((&domain["provider"], &domain["this_hour"]["accepted"]), (&json!("google"), &json!(2)));
    let all = app.get(&shop.admin, "/destinations?by=provider&search=yahoo").await.expect(200);
    assert_eq!(all["pagination"]["total"], 2, "yahoo, and the one in Japan");

    for body in [
        json!({}),
        json!({"seconds": 0}),
        json!({"seconds": 5, "until": "2030-01-01T00:00:00Z"}),
        json!({"seconds": 5, "reason": ""}),
    ] {
        app.post(&shop.admin, &format!("{google}/suspend"), body).await.problem(400);
    }
    app.post(&shop.owner, &format!("{google}/suspend"), json!({"seconds": 60})).await.problem(403);
    app.post(&shop.admin, "/destinations/provider:Go%20ogle/suspend", json!({"seconds": 60})).await.problem(400);
    let body = json!({"seconds": 3600, "reason": "they asked us to wait"});
    let suspended = app.post(&shop.admin, &format!("{google}/suspend"), body).await.expect(200);
    assert_eq!((&suspended["reason"], suspended["suspended_until"].is_string()), (&json!("they asked us to wait"), true));
    let set = app.put(&shop.admin, &format!("{google}/limits"), json!({"max_connections": 9})).await.expect(200);
    assert_eq!(set["allowed_connections"], 9, "an operator's limit takes the place of the file's");
    let resumed = app.post(&shop.admin, &format!("{google}/resume"), json!(null)).await.expect(200);
    assert_eq!(
        (&resumed["reason"], &resumed["suspended_until"], &resumed["max_connections"]),
        (&json!(null), &json!(null), &json!(9))
    );
    let domains = app.get(&shop.admin, "/destinations").await.expect(200);
    assert_eq!(domains["pagination"]["total"], 2, "providers are not among the domains");
}
