use axum::{
    body::Body,
    http::{Method, Request, header},
};
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use shared::accounts::level::Level;
use uuid::Uuid;

use crate::{
    app::{Person, TestApp},
    shop::text,
};

impl TestApp {
    /// A verified sending domain of the person's workspace.
    pub async fn sending_domain(&self, person: &Person, domain: &str, state: &str) {
        self.stage
            .arrange(format!(
                "INSERT INTO sending_domains (id, workspace_id, domain, state, ownership_token, return_path_host)
                 VALUES ('{}', '{}', '{domain}', '{state}', 'token', 'bounces.{domain}')",
                Uuid::now_v7(),
                person.workspace_id
            ))
            .await;
    }
}

async fn shop() -> (TestApp, Person) {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    app.sending_domain(&ann, "shop.test", "verified").await;
    (app, ann)
}

fn receipt() -> Value {
    json!({
        "from": { "name": "The Shop", "email": "Orders@Shop.test" },
        "to": "Bob@Example.com",
        "subject": "Order {{ number }}",
        "html": "<p>Order {{ number }}</p>",
        "data": { "number": 66 },
        "attachments": [{ "filename": "receipt.txt", "content_type": "text/plain", "content": "VGhhbmsgeW91IQo=" }],
        "headers": { "X-Order": "66" },
        "tags": ["receipt"],
        "metadata": { "order_id": 66 },
    })
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

#[tokio::test]
async fn a_message_is_taken_rendered_and_told_with_its_job_on_the_critical_lane() {
    let (app, ann) = shop().await;
    let answer = app.post(&ann, "/messages", receipt()).await;
    let taken = answer.expect(202);
    let id = text(&taken["id"]);
    assert_eq!(answer.headers["location"], format!("/api/v1/messages/{id}").as_str());
    let told = app.get(&ann, &format!("/messages/{id}")).await.expect(200);
    assert_eq!(told["message_id"], format!("<{}@shop.test>", id.replace('-', "")).as_str());
    assert_eq!(told["message_id"], taken["message_id"]);
    assert_json_snapshot!(told, {
        ".id" => "…", ".workspace_id" => "…", ".message_id" => "…", ".created_at" => "…", ".updated_at" => "…", ".expires_at" => "…",
        ".events[].at" => "…",
    });
    let jobs = app.get(&app.admin().await, "/jobs?kind=SendMessage&lane=critical").await.expect(200);
    assert_eq!((&jobs["pagination"]["total"], &jobs["data"][0]["state"]), (&json!(1), &json!("queued")));
}

#[tokio::test]
async fn a_key_makes_one_message_even_when_its_first_run_died_before_it_answered() {
    let (app, ann) = shop().await;
    let keyed = || {
        Request::post("/api/v1/messages")
            .header(header::AUTHORIZATION, format!("Bearer {}", ann.token))
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", "order-66")
            .body(Body::from(receipt().to_string()))
            .expect("a request")
    };
    let first = app.send(keyed()).await.expect(202);
    assert_eq!(app.send(keyed()).await.expect(202), first);
    app.stage
        .execute(
            "UPDATE idempotency_keys SET status = NULL, headers = NULL, answer_sealed = NULL, lease_until = now() - interval '1 s'",
        )
        .await;
    assert_eq!(app.send(keyed()).await.expect(202), first);
    assert_eq!(app.get(&ann, "/messages").await.expect(200)["pagination"]["total"], 1);
    assert_eq!(app.stage.number("SELECT count(*) FROM jobs WHERE kind = 'SendMessage'", Uuid::nil()).await, 1);
}

#[tokio::test]
async fn each_wrong_field_is_named() {
    let (app, ann) = shop().await;
    let long = "x".repeat(101);
    let wrong = [
        ("from", json!("nobody"), "from.email"),
        ("from", json!({ "name": "a\r\nBcc: all@example.com", "email": "orders@shop.test" }), "from.name"),
        ("from", json!({ "name": "a" }), "from.email"),
        ("to", json!(["a@example.com"]), "to"),
        ("to", json!({ "email": "a@example.com", "phone": "1" }), "to.phone"),
        ("reply_to", json!("a@@"), "reply_to.email"),
        ("subject", json!(""), "subject"),
        ("subject", json!("a\nb"), "subject"),
        ("subject", json!("{{ total }}"), "subject"),
        ("html", json!("{{ number"), "html"),
        ("text", json!("{{ 'x' * 100000 }}"), "text"),
        ("template_id", json!(Uuid::now_v7()), "template_id"),
        ("attachments", json!([{ "filename": "a/b", "content_type": "text/plain", "content": "" }]), "attachments[0].filename"),
        (
            "attachments",
            json!([{ "filename": "a", "content_type": "message/rfc822", "content": "" }]),
            "attachments[0].content_type",
        ),
        ("attachments", json!([{ "filename": "a", "content_type": "a/b", "content": "?" }]), "attachments[0].content"),
        (
            "attachments",
            json!([{ "filename": "a", "content_type": "a/b", "content": "", "content_id": "<x>" }]),
            "attachments[0].content_id",
        ),
        ("headers", json!({ "Bcc": "all@example.com" }), "headers.Bcc"),
        ("headers", json!({ "DKIM-Signature": "v=1" }), "headers.DKIM-Signature"),
        ("headers", json!({ "X-Order": "66\r\nBcc: all@example.com" }), "headers.X-Order"),
        ("tags", json!([long]), "tags[0]"),
        ("metadata", json!({ "a": "x".repeat(17_000) }), "metadata"),
        ("bcc", json!("all@example.com"), "bcc"),
    ];
    for (field, value, named) in wrong {
        let problem = app.post(&ann, "/messages", with(receipt(), field, value.clone())).await.problem(400);
        let fields: Vec<&str> = problem["errors"].as_array().expect("errors").iter().filter_map(|e| e["field"].as_str()).collect();
        assert!(fields.contains(&named), "{field} {value}: {problem}");
    }
    for missing in ["from", "to", "subject"] {
        let mut body = receipt();
        body.as_object_mut().expect("an object").remove(missing);
        let problem = app.post(&ann, "/messages", body).await.problem(400);
        assert_eq!(problem["errors"][0]["field"], missing, "{problem}");
    }
    assert_eq!(app.get(&ann, "/messages").await.expect(200)["pagination"]["total"], 0);
    assert_eq!(app.stage.number("SELECT count(*) FROM jobs WHERE kind = 'SendMessage'", Uuid::nil()).await, 0);
}

#[tokio::test]
async fn mail_comes_only_from_a_verified_domain_of_the_workspace() {
    let (app, ann) = shop().await;
    let bob = app.somebody().await;
    app.sending_domain(&ann, "pending.test", "pending").await;
    app.sending_domain(&ann, "degraded.test", "degraded").await;
    assert_json_snapshot!(app.post(&bob, "/messages", receipt()).await.problem(409), @r#"
    {
      "detail": "mail cannot come from shop.test: it is no sending domain of this workspace; claim it with POST /sending-domains",
      "status": 409,
      "title": "Conflict",
      "type": "about:blank"
    }
    "#);
    let problem = app.post(&ann, "/messages", with(receipt(), "from", json!("a@pending.test"))).await.problem(409);
    assert_eq!(problem["detail"], "mail cannot come from pending.test: it is pending and was not verified yet");
    app.post(&ann, "/messages", with(receipt(), "from", json!("a@sub.shop.test"))).await.problem(409);
    app.post(&ann, "/messages", with(receipt(), "from", json!("a@degraded.test"))).await.expect(202);
}

#[tokio::test]
async fn attachments_of_ten_megabytes_are_taken_and_more_are_too_large() {
    let (app, ann) = shop().await;
    let file = |bytes: usize| json!([{ "filename": "a.bin", "content_type": "application/octet-stream", "content": "AAAA".repeat(bytes / 3) }]);
    let most = 10 * 1024 * 1024;
    app.post(&ann, "/messages", with(receipt(), "attachments", file(most - 1))).await.expect(202);
    let problem = app.post(&ann, "/messages", with(receipt(), "attachments", file(most + 3))).await.problem(413);
    assert_eq!(problem["detail"], "the body is larger than 10485760 bytes");
    let problem = app.post(&ann, "/messages", with(receipt(), "attachments", file(13 * 1024 * 1024))).await.problem(413);
    assert_eq!(problem["detail"], "the body is larger than 16777216 bytes");
    assert_eq!(app.get(&ann, "/messages").await.expect(200)["pagination"]["total"], 1);
}

#[tokio::test]
async fn a_message_is_of_its_workspace_and_an_editor_sends() {
    let (app, ann) = shop().await;
    let eve = app.somebody().await;
    let viewer = app.member(ann.workspace_id, Level::Viewer).await;
    app.post(&viewer, "/messages", receipt()).await.problem(403);
    let editor = app.member(ann.workspace_id, Level::Editor).await;
    let id = text(&app.post(&editor, "/messages", receipt()).await.expect(202)["id"]);
    app.get(&viewer, &format!("/messages/{id}")).await.expect(200);
    app.get(&eve, &format!("/messages/{id}")).await.problem(403);
    app.call(Some(&eve), Method::POST, &format!("/messages/{id}/cancel"), None).await.problem(403);
    app.call(Some(&viewer), Method::POST, &format!("/messages/{id}/cancel"), None).await.problem(403);
    app.get(&ann, &format!("/messages/{}", Uuid::now_v7())).await.problem(404);
}

#[tokio::test]
async fn a_message_that_waits_is_cancelled_and_one_that_is_over_is_not() {
    let (app, ann) = shop().await;
    let id = text(&app.post(&ann, "/messages", receipt()).await.expect(202)["id"]);
    let path = format!("/messages/{id}/cancel");
    assert_eq!(app.call(Some(&ann), Method::POST, &path, None).await.expect(200)["state"], "cancelled");
    let problem = app.call(Some(&ann), Method::POST, &path, None).await.problem(409);
    assert_eq!(problem["detail"], format!("message {id} is cancelled; only one that waits is cancelled").as_str());
    let told = app.get(&ann, &format!("/messages/{id}")).await.expect(200);
    let kinds: Vec<&str> = told["events"].as_array().expect("events").iter().filter_map(|event| event["kind"].as_str()).collect();
    assert_eq!(kinds, ["queued", "cancelled"]);
    let kept = "SELECT count(*) FROM message_attachments WHERE content IS NOT NULL";
    assert_eq!(app.stage.number(kept, Uuid::nil()).await, 0, "nobody needs the files any more");
}

#[tokio::test]
async fn messages_are_found_by_state_tag_recipient_and_day() {
    let (app, ann) = shop().await;
    for (to, tag) in [("bob@example.com", "receipt"), ("cid@example.com", "receipt"), ("cid@example.com", "reset")] {
        let body = with(with(receipt(), "to", json!(to)), "tags", json!([tag]));
        app.post(&ann, "/messages", body).await.expect(202);
    }
    for (query, total) in [
        ("tag=receipt", 2),
        ("to=Cid@Example.com", 2),
        ("to=cid@example.com&tag=reset", 1),
        ("state=queued", 3),
        ("state=", 3),
        ("state=accepted", 0),
        ("date_from=2020-01-01", 3),
        ("date_to=2020-01-01", 0),
    ] {
        let page = app.get(&ann, &format!("/messages?{query}")).await.expect(200);
        assert_eq!(page["pagination"]["total"], total, "{query}");
    }
    app.get(&ann, "/messages?state=lost").await.problem(400);
    app.get(&ann, "/messages?date_to=%2B99999-01-01").await.problem(400);
}

#[tokio::test]
async fn a_template_is_written_replaced_used_and_removed() {
    let (app, ann) = shop().await;
    let template = json!({ "name": "Receipt", "subject": "Order {{ order.number }}", "html": "<p>{{ name }}</p>" });
    let made = app.post(&ann, "/templates", template.clone()).await.expect(201);
    let path = format!("/templates/{}", text(&made["id"]));
    app.post(&ann, "/templates", template.clone()).await.problem(409);
    let body = json!({ "from": "orders@shop.test", "to": "bob@example.com", "template_id": made["id"],
                       "data": { "order": { "number": 7 }, "name": "<Bob>" } });
    let id = text(&app.post(&ann, "/messages", body.clone()).await.expect(202)["id"]);
    let problem = app.post(&ann, "/messages", with(body.clone(), "data", json!({ "name": "Bob" }))).await.problem(400);
    assert_eq!(problem["errors"][0]["message"], "line 1: undefined value; the data lacks order.number");

    let replaced = app.put(&ann, &path, with(template.clone(), "subject", json!("Thank you"))).await.expect(200);
    assert_eq!(replaced["subject"], "Thank you");
    let told = app.get(&ann, &format!("/messages/{id}")).await.expect(200);
    assert_eq!(
        (&told["subject"], &told["html"], &told["text"]),
        (&json!("Order 7"), &json!("<p>&lt;Bob&gt;</p>"), &json!("<Bob>"))
    );
    app.put(&ann, &path, with(template, "html", json!("{{ name"))).await.problem(400);
    assert_eq!(app.get(&ann, "/templates?search=receipt").await.expect(200)["data"], json!([replaced]));

    assert_eq!(app.delete(&ann, &path).await.status, 204);
    app.get(&ann, &path).await.problem(404);
    assert_eq!(app.get(&ann, &format!("/messages/{id}")).await.expect(200)["template_id"], Value::Null);
}
