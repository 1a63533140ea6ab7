use axum::http::Method;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use shared::database;

use crate::{
    app::TestApp,
    shop::{Shop, text},
};

/// What changes from run to run is taken out.
fn plain(mut domain: Value) -> Value {
    for record in domain["records"].as_array_mut().expect("records") {
        let value = text(&record["value"]);
        if let Some((head, _)) = value.split_once("; p=").filter(|_| value.starts_with("v=DKIM1")) {
            record["value"] = json!(format!("{head}; p=…"));
        } else if value.starts_with("mochila-verification=") {
            record["value"] = json!("mochila-verification=…");
        }
        let name = text(&record["name"]);
        if let Some((selector, rest)) = name.split_once("._domainkey") {
            record["name"] = json!(format!("…{}._domainkey{rest}", &selector[9..]));
        }
    }
    domain["records"].take()
}

#[tokio::test]
async fn a_domain_is_claimed_with_the_records_to_publish() {
    let shop = Shop::new().await;
    let (app, ann) = (&shop.app, &shop.owner);
    let made = app.post(ann, "/sending-domains", json!({ "domain": "Mail.Bücher.test." })).await.expect(201);
    assert_eq!(
        (&made["domain"], &made["state"], &made["checks"]),
        (&json!("mail.xn--bcher-kva.test"), &json!("pending"), &json!([]))
    );
    assert_json_snapshot!(plain(made.clone()), @r#"
    [
      {
        "name": "_mochila.mail.xn--bcher-kva.test",
        "purpose": "ownership: proves that the domain is yours",
        "type": "TXT",
        "value": "mochila-verification=…"
      },
      {
        "name": "…-rsa._domainkey.mail.xn--bcher-kva.test",
        "purpose": "DKIM: the key that signs as soon as this record is seen",
        "type": "TXT",
        "value": "v=DKIM1; k=rsa; p=…"
      },
      {
        "name": "…-ed25519._domainkey.mail.xn--bcher-kva.test",
        "purpose": "DKIM: the key that signs as soon as this record is seen",
        "type": "TXT",
        "value": "v=DKIM1; k=ed25519; p=…"
      },
      {
        "name": "bounces.mail.xn--bcher-kva.test",
        "purpose": "SPF: which servers may send with a return path at this host",
        "type": "TXT",
        "value": "v=spf1 ip4:127.0.0.1 ~all"
      },
      {
        "name": "bounces.mail.xn--bcher-kva.test",
        "purpose": "return path: bounces come back to addresses at this host",
        "type": "A",
        "value": "127.0.0.1"
      },
      {
        "name": "_dmarc.mail.xn--bcher-kva.test",
        "purpose": "DMARC: what receivers do with mail that only claims to be yours; keep a stricter policy if you have one",
        "type": "TXT",
        "value": "v=DMARC1; p=none"
      }
    ]
    "#);
    let path = format!("/sending-domains/{}", text(&made["id"]));
    assert_eq!(app.get(ann, &path).await.expect(200), made);
    let rsa = made["records"][1]["value"].as_str().expect("a value").len();
    assert!(rsa > 400, "one value, however long: {rsa}");
    let page = app.get(ann, "/sending-domains?search=cher&state=pending").await.expect(200);
    assert_eq!((&page["pagination"]["total"], &page["data"][0]["id"]), (&json!(1), &made["id"]));
    assert_eq!(app.get(ann, "/sending-domains?state=degraded").await.expect(200)["data"], json!([]));
    app.delete(ann, &path).await.expect(204);
    app.get(ann, &path).await.problem(404);
}

#[tokio::test]
async fn a_domain_is_there_once_in_a_workspace_and_another_one_may_claim_it_too() {
    let app = TestApp::new().await;
    let (ann, bob) = (app.somebody().await, app.somebody().await);
    let body = json!({ "domain": "shop.test" });
    app.post(&ann, "/sending-domains", body.clone()).await.expect(201);
    let problem = app.post(&ann, "/sending-domains", body.clone()).await.problem(409);
    assert_eq!(problem["detail"], "the sending domain shop.test exists already");
    app.post(&bob, "/sending-domains", body).await.expect(201);
    for wrong in ["shop", "a b.test", "127.0.0.1", "-a.test", &format!("{}.test", "a.".repeat(110))] {
        app.post(&ann, "/sending-domains", json!({ "domain": wrong })).await.problem(400);
    }
}

#[tokio::test]
async fn a_verification_is_a_job_and_one_that_waits_is_the_answer() {
    let shop = Shop::new().await;
    let (app, ann) = (&shop.app, &shop.owner);
    let id = text(&app.post(ann, "/sending-domains", json!({ "domain": "mail.test" })).await.expect(201)["id"]);
    let first = app.post(ann, &format!("/sending-domains/{id}/verify"), json!({})).await;
    let location = first.headers.get("location").expect("a location").to_str().expect("ASCII").to_owned();
    let job = text(&first.expect(202)["job_id"]);
    assert_eq!(location, format!("/api/v1/jobs/{job}"));
    assert_eq!(app.post(ann, &format!("/sending-domains/{id}/verify"), json!({})).await.expect(202)["job_id"], json!(job));
    let told = app.get(ann, &format!("/jobs/{job}")).await.expect(200);
    assert_eq!((&told["kind"], &told["state"]), (&json!("VerifyDomain"), &json!("queued")));
}

#[tokio::test]
async fn keys_are_exchanged_one_pair_at_a_time() {
    let shop = Shop::new().await;
    let (app, ann) = (&shop.app, &shop.owner);
    let id = text(&app.post(ann, "/sending-domains", json!({ "domain": "mail.test" })).await.expect(201)["id"]);
    let rotate = format!("/sending-domains/{id}/rotate-keys");
    let problem = app.post(ann, &rotate, json!({})).await.problem(409);
    assert!(text(&problem["detail"]).ends_with("has not been seen in DNS yet: publish its record and verify first"), "{problem}");
    app.stage.arrange("UPDATE dkim_keys SET state = 'active'".to_owned()).await;
    let both = app.post(ann, &rotate, json!({})).await.expect(200);
    let states: Vec<&str> = both["keys"].as_array().expect("keys").iter().filter_map(|key| key["state"].as_str()).collect();
    assert_eq!(states, ["active", "active", "pending", "pending"]);
    assert_eq!(both["records"].as_array().map(Vec::len), Some(8));
}

#[tokio::test]
async fn a_campaign_whose_domain_is_not_verified_is_refused_with_the_failed_checks() {
    let shop = Shop::new().await;
    let (app, ann) = (&shop.app, &shop.owner);
    let mut draft = shop.draft();
    draft["from"]["email"] = json!("news@other.test");
    let campaign = text(&app.post(ann, "/campaigns", draft).await.expect(201)["id"]);
    let ask = async |verb: &str, body: Option<Value>| {
        app.call(Some(ann), Method::POST, &format!("/campaigns/{campaign}/{verb}"), body).await
    };
    let to = json!({ "to": ["ann@example.com"] });
    let unknown =
        "mail cannot come from other.test: it is no sending domain of this workspace; claim it with POST /sending-domains";
    assert_eq!(ask("send", None).await.problem(409)["detail"], unknown);
    assert_eq!(ask("test", Some(to.clone())).await.problem(409)["detail"], unknown);
    app.post(ann, "/sending-domains", json!({ "domain": "other.test" })).await.expect(201);
    let fresh = "mail cannot come from other.test: it is pending and was not verified yet";
    assert_eq!(ask("send", None).await.problem(409)["detail"], fresh);
    let put = async |state: &str| {
        app.stage
            .arrange(format!(
                r#"UPDATE sending_domains SET state = '{state}', checks =
                     '[{{"name": "spf", "verdict": "fail", "answered": true, "found": "", "expected": "", "advice": "publish it"}},
                       {{"name": "mx", "verdict": "pass", "answered": true, "found": "", "expected": "", "advice": ""}}]'
                   WHERE domain = 'other.test'"#
            ))
            .await;
    };
    put("failed").await;
    let failed = "mail cannot come from other.test: it is failed; failed checks: spf: publish it";
    assert_eq!(ask("send", None).await.problem(409)["detail"], failed);
    assert_eq!(shop.jobs("LaunchCampaign").await + shop.jobs("SendTest").await, 0);
    put("degraded").await;
    ask("test", Some(to)).await.expect(202);
    ask("send", None).await.expect(202);
    put("failed").await;
    shop.put_into(&campaign, "paused").await;
    assert_eq!(ask("resume", None).await.problem(409)["detail"], failed);
}

#[tokio::test]
async fn a_scheduled_campaign_whose_domain_is_lost_is_a_draft_again_and_says_why() {
    let shop = Shop::new().await;
    let (app, ann) = (&shop.app, &shop.owner);
    let mut draft = shop.draft();
    draft["scheduled_at"] = json!("2026-01-15T13:00:00Z");
    let campaign = text(&app.post(ann, "/campaigns", draft).await.expect(201)["id"]);
    let path = format!("/campaigns/{campaign}");
    app.call(Some(ann), Method::POST, &format!("{path}/send"), None).await.expect(202);
    app.stage.arrange("UPDATE sending_domains SET state = 'failed'".to_owned()).await;
    let mut transaction = database::begin(&app.stage.pool).await.expect("a transaction");
    let due = app.stage.clock.now() + chrono::TimeDelta::hours(2);
    let launched = shared::campaigns::transitions::launch_due(&mut transaction, due).await.expect("launched");
    transaction.commit().await.expect("committed");
    assert!(launched.is_empty());
    let told = app.get(ann, &path).await.expect(200);
    assert_eq!(told["state"], "draft");
    assert_eq!(
        told["pause_reason"],
        "it was not sent at its time: mail cannot come from shop.test: it is failed and was not verified yet"
    );
    app.stage.arrange("UPDATE sending_domains SET state = 'verified'".to_owned()).await;
    app.call(Some(ann), Method::POST, &format!("{path}/send"), None).await.expect(202);
}

#[tokio::test]
async fn who_deletes_a_domain_pauses_what_comes_from_it() {
    let shop = Shop::new().await;
    let (app, ann) = (&shop.app, &shop.owner);
    let campaign = shop.campaign().await;
    app.call(Some(ann), Method::POST, &format!("/campaigns/{campaign}/send"), None).await.expect(202);
    let page = app.get(ann, "/sending-domains").await.expect(200);
    app.delete(ann, &format!("/sending-domains/{}", text(&page["data"][0]["id"]))).await.expect(204);
    let told = app.get(ann, &format!("/campaigns/{campaign}")).await.expect(200);
    assert_eq!((&told["state"], &told["pause_reason"]), (&json!("paused"), &json!("its sending domain shop.test was deleted")));
}
