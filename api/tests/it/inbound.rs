//! Posts of providers, signed with keys that are made here.

use std::sync::{Arc, Mutex};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use axum::{
    body::Body,
    http::{Request, header},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::future::BoxFuture;
use mochila_api::amazon::{Amazon, Fetch};
use serde_json::{Value, json};

use crate::{
    app::{Answer, Person, TestApp},
    shop::text,
};

/// Of the stage's clock, 2026-01-15 12:00:00 UTC.
const NOON: i64 = 1_768_478_400;
const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:feedback";

async fn source(app: &TestApp, owner: &Person, body: Value) -> Value {
    app.post(owner, "/feedback-sources", body).await.expect(201)
}

/// Posts to a source's address.
async fn post(app: &TestApp, source: &Value, headers: &[(&str, &str)], body: &str) -> Answer {
    let url = text(&source["url"]);
    let path = url.split_once("/api/v1").expect("an address of ours").1;
    let kind = if source["kind"] == "ses" { "text/plain; charset=UTF-8" } else { "application/json" };
    let mut request = Request::post(format!("/api/v1{path}")).header(header::CONTENT_TYPE, kind);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    app.send(request.body(Body::from(body.to_owned())).expect("a request")).await
}

async fn refused(app: &TestApp, source: &Value, headers: &[(&str, &str)], body: &str) -> String {
    text(&post(app, source, headers, body).await.problem(403)["detail"])
}

async fn outcome(app: &TestApp, source: &Value, headers: &[(&str, &str)], body: &str) -> String {
    text(&post(app, source, headers, body).await.expect(200)["outcome"])
}

async fn jobs(app: &TestApp) -> i64 {
    app.stage.number("SELECT count(*) FROM jobs WHERE kind = 'ReadPost' AND lane = 'webhooks'", uuid::Uuid::nil()).await
}

fn hmac_hex(secret: &str, signed: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
    tag.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

#[tokio::test]
async fn a_post_that_is_signed_as_we_say_is_stored_once_with_its_job() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let made = source(&app, &ann, json!({ "kind": "generic", "name": "Own relay" })).await;
    let secret = text(&made["secret"]);
    let body = r#"{"event":"bounce","message_id":"<x@shop.test>","hard":true}"#;
    let at = NOON.to_string();
    let signature = hmac_hex(&secret, &format!("{at}.{body}"));
    let headers = [("x-mochila-timestamp", at.as_str()), ("x-mochila-signature", signature.as_str())];
    assert_eq!(outcome(&app, &made, &headers, body).await, "stored");
    let keyed = [headers[0], headers[1], ("idempotency-key", "of the provider")];
    assert_eq!(outcome(&app, &made, &keyed, body).await, "known", "its key is not ours to read");
    assert_eq!(jobs(&app).await, 1);
    assert_eq!(
        refused(&app, &made, &headers, &body.replace("true", "null")).await,
        "the post is not believed: its signature is wrong"
    );
    assert_eq!(refused(&app, &made, &[], body).await, "the post is not believed: its signature is wrong");
    for (age, reason) in [(301, "it is too old: it may be a replay"), (-301, "its timestamp is ahead of time")] {
        let at = (NOON - age).to_string();
        let signature = hmac_hex(&secret, &format!("{at}.{body}"));
        let headers = [("x-mochila-timestamp", at.as_str()), ("x-mochila-signature", signature.as_str())];
        assert_eq!(refused(&app, &made, &headers, body).await, format!("the post is not believed: {reason}"));
    }
    let seen = app.get(&ann, &format!("/feedback-sources/{}", text(&made["id"]))).await.expect(200);
    assert!(seen.get("secret").is_none(), "it is told once");
    assert!(seen["received_at"].is_string() && seen["refused_at"].is_string());
    // At another kind's address it is nobody's.
    let elsewhere = json!({ "kind": "generic", "url": text(&made["url"]).replace("generic", "mailgun") });
    post(&app, &elsewhere, &headers, body).await.problem(404);
}

#[tokio::test]
async fn sendgrids_posts_are_checked_against_its_public_key() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().expect("DER");
    app.post(&ann, "/feedback-sources", json!({ "kind": "sendgrid", "name": "S", "secret": "short" })).await.problem(400);
    let made =
        source(&app, &ann, json!({ "kind": "sendgrid", "name": "SendGrid", "secret": STANDARD.encode(public.as_ref()) })).await;
    let body = r#"[{"event":"spamreport","smtp-id":"<x@shop.test>"}]"#;
    let sign =
        |at: &str, body: &str| STANDARD.encode(key.sign(&SystemRandom::new(), format!("{at}{body}").as_bytes()).expect("signed"));
    let (now, old) = (NOON.to_string(), (NOON - 86_401).to_string());
    let (good, late) = (sign(&now, body), sign(&old, body));
    let (now, old, good, late) = (now.as_str(), old.as_str(), good.as_str(), late.as_str());
    let headers =
        |at, signature| [("x-twilio-email-event-webhook-timestamp", at), ("x-twilio-email-event-webhook-signature", signature)];
    assert_eq!(outcome(&app, &made, &headers(now, good), body).await, "stored");
    assert_eq!(outcome(&app, &made, &headers(now, good), body).await, "known");
    assert_eq!(refused(&app, &made, &headers(now, good), "[]").await, "the post is not believed: its signature is wrong");
    assert_eq!(refused(&app, &made, &headers(old, good), body).await, "the post is not believed: its signature is wrong");
    assert_eq!(
        refused(&app, &made, &headers(old, late), body).await,
        "the post is not believed: it is too old: it may be a replay"
    );
    assert_eq!(jobs(&app).await, 1);
}

#[tokio::test]
async fn each_token_of_mailgun_is_good_once() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let secret = "a signing key of Mailgun";
    let made = source(&app, &ann, json!({ "kind": "mailgun", "name": "Mailgun", "secret": secret })).await;
    assert_eq!(made["secret"], Value::Null);
    let body = |event: &str, signature: &str| {
        json!({ "signature": { "timestamp": NOON.to_string(), "token": "t0k3n", "signature": signature }, "event-data": { "event": event } }).to_string()
    };
    let good = hmac_hex(secret, &format!("{NOON}t0k3n"));
    assert_eq!(outcome(&app, &made, &[], &body("complained", &good)).await, "stored");
    assert_eq!(outcome(&app, &made, &[], &body("unsubscribed", &good)).await, "known", "its signature does not cover the event");
    assert_eq!(
        refused(&app, &made, &[], &body("complained", &hmac_hex("another", "x"))).await,
        "the post is not believed: its signature is wrong"
    );
    assert_eq!(refused(&app, &made, &[], "{}").await, "the post is not believed: it has no signature");
    assert_eq!(jobs(&app).await, 1);
}

#[tokio::test]
async fn postmark_comes_with_the_password_of_its_address() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let made = source(&app, &ann, json!({ "kind": "postmark", "name": "Postmark" })).await;
    let basic = |password: &str| format!("Basic {}", STANDARD.encode(format!("mochila:{password}")));
    let body = r#"{"RecordType":"SpamComplaint"}"#;
    let good = basic(&text(&made["secret"]));
    assert_eq!(outcome(&app, &made, &[("authorization", &good)], body).await, "stored");
    assert_eq!(outcome(&app, &made, &[("authorization", &good)], body).await, "known");
    for wrong in [basic("guess"), basic(""), "Basic ???".to_owned(), good.replace("Basic", "Bearer")] {
        assert_eq!(
            refused(&app, &made, &[("authorization", &wrong)], body).await,
            "the post is not believed: its password is wrong"
        );
    }
}

/// Amazon, with one certificate.
struct Fake {
    pem: String,
    asked: Mutex<Vec<String>>,
}

impl Fetch for Fake {
    fn get(&self, url: url::Url) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        self.asked.lock().expect("whole").push(url.to_string());
        let pem = self.pem.clone();
        Box::pin(async move { Ok(pem.into_bytes()) })
    }
}

struct Sns {
    app: TestApp,
    source: Value,
    key: RsaKeyPair,
    fake: Arc<Fake>,
}

impl Sns {
    async fn new() -> Self {
        let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).expect("a key");
        let certificate = rcgen::CertificateParams::new(vec!["sns.amazonaws.com".to_owned()])
            .expect("a name")
            .self_signed(&key)
            .expect("a certificate");
        let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(certificate.der()));
        let fake = Arc::new(Fake { pem, asked: Mutex::default() });
        let app = TestApp::new().await;
        let state = app.state.clone().with(|parts| parts.amazon = Arc::new(Amazon::new(fake.clone())));
        let app = app.over(state);
        let ann = app.somebody().await;
        let source = source(&app, &ann, json!({ "kind": "ses", "name": "SES", "topic": TOPIC })).await;
        Self { app, source, key: RsaKeyPair::from_pkcs8(&key.serialize_der()).expect("a key"), fake }
    }

    /// An envelope, signed as SNS does.
    fn envelope(&self, version: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut envelope = json!({
            "Type": "Notification", "MessageId": "165545c9", "TopicArn": TOPIC, "Subject": "Feedback",
            "Message": "{\"notificationType\":\"Complaint\"}", "Timestamp": "2026-01-15T11:59:59.000Z", "SignatureVersion": version,
            "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
            "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
        });
        change(&mut envelope);
        let names: &[&str] = match envelope["Type"].as_str() {
            Some("Notification") => &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
            _ => &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"],
        };
        let signed: String =
            names.iter().filter_map(|name| envelope[*name].as_str().map(|value| format!("{name}\n{value}\n"))).collect();
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).expect("signed");
        envelope["Signature"] = STANDARD.encode(signature).into();
        envelope.to_string()
    }

    fn asked(&self) -> Vec<String> {
        self.fake.asked.lock().expect("whole").clone()
    }
}

#[tokio::test]
async fn a_notification_of_sns_is_believed_by_amazons_certificate_and_of_its_topic_alone() {
    let sns = Sns::new().await;
    let (app, source) = (&sns.app, &sns.source);
    let good = sns.envelope("2", |_| {});
    assert_eq!(outcome(app, source, &[], &good).await, "stored");
    assert_eq!(outcome(app, source, &[], &good).await, "known");
    let other = sns.envelope("2", |envelope| envelope["MessageId"] = "another".into());
    assert_eq!(outcome(app, source, &[], &other).await, "stored");
    assert_eq!(sns.asked().len(), 1, "the certificate is remembered");
    assert_eq!(jobs(app).await, 2);
    let wrong = |reason: &str| format!("the post is not believed: {reason}");
    assert_eq!(refused(app, source, &[], &good.replace("Complaint", "Bounce")).await, wrong("its signature is wrong"));
    for (version, change, reason) in [
        ("2", json!({ "TopicArn": "arn:aws:sns:eu-west-1:666:evil" }), "it is of another topic"),
        ("2", json!({ "Timestamp": "2026-01-14T11:59:59.000Z" }), "it is too old: it may be a replay"),
        ("2", json!({ "SigningCertURL": "https://sns.evil.test/x.pem" }), "its certificate is not one of Amazon's"),
        ("2", json!({ "SigningCertURL": "https://bucket.s3.amazonaws.com/x.pem" }), "its certificate is not one of Amazon's"),
        ("3", json!({}), "its signature is of a version that is not known"),
    ] {
        let envelope = sns.envelope(version, |envelope| {
            for (name, value) in change.as_object().expect("changes") {
                envelope[name] = value.clone();
            }
        });
        assert_eq!(refused(app, source, &[], &envelope).await, wrong(reason));
    }
    assert_eq!(refused(app, source, &[], "{}").await, wrong("it is not as SNS writes"));
    assert_eq!(sns.asked().len(), 1, "nobody else was asked");
}

#[tokio::test]
async fn a_subscription_is_confirmed_at_amazons_address_alone() {
    let sns = Sns::new().await;
    let ask = |at: &str| {
        sns.envelope("2", |envelope| {
            envelope["Type"] = "SubscriptionConfirmation".into();
            envelope["Token"] = "t".into();
            envelope["SubscribeURL"] = at.into();
        })
    };
    let evil = ask("https://sns.evil.test/?Action=ConfirmSubscription");
    let reason = "the post is not believed: its confirmation is not at one of Amazon's addresses";
    assert_eq!(refused(&sns.app, &sns.source, &[], &evil).await, reason);
    let good = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=t";
    assert_eq!(outcome(&sns.app, &sns.source, &[], &ask(good)).await, "confirmed");
    assert_eq!(sns.asked().last().map(String::as_str), Some(good));
    assert_eq!(jobs(&sns.app).await, 0);
}

#[tokio::test]
async fn a_source_is_its_owners_and_only_an_admins_may_tell_of_every_workspace() {
    let app = TestApp::new().await;
    let (ann, admin) = (app.somebody().await, app.admin().await);
    app.post(&ann, "/feedback-sources", json!({ "kind": "generic", "name": "A", "everywhere": true })).await.problem(403);
    source(&app, &admin, json!({ "kind": "generic", "name": "A", "everywhere": true })).await;
    let made = source(&app, &ann, json!({ "kind": "generic", "name": "A" })).await;
    app.post(&ann, "/feedback-sources", json!({ "kind": "generic", "name": "A" })).await.problem(409);
    for (body, field) in [
        (json!({ "kind": "ses", "name": "S" }), "topic"),
        (json!({ "kind": "mailgun", "name": "M" }), "secret"),
        (json!({ "kind": "generic", "name": "G", "secret": "short" }), "secret"),
        (json!({ "kind": "generic", "name": "G", "topic": TOPIC }), "topic"),
    ] {
        assert_eq!(app.post(&ann, "/feedback-sources", body).await.problem(400)["errors"][0]["field"], field);
    }
    assert_eq!(app.get(&ann, "/feedback-sources").await.expect(200)["pagination"]["total"], 1);
    assert_eq!(app.delete(&ann, &format!("/feedback-sources/{}", text(&made["id"]))).await.status, 204);
    assert_eq!(app.get(&ann, "/feedback-sources").await.expect(200)["pagination"]["total"], 0);
}
