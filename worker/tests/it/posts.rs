//! What mail providers tell over HTTP, from the stored post to what follows from it.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use shared::{
    accounts::scope::Scope,
    campaigns::message::message_id,
    feedback::{
        post,
        source::{self, Kind, NewSource},
    },
    vault::Vault,
};
use uuid::Uuid;

use crate::inbound::{COMPLAINED, Inn, SUPPRESSED, UNSUBSCRIBED};

/// Stores a post, as the api does once its signature was good. Of a source of this workspace, which an admin may have made for all.
async fn told(inn: &Inn, workspace_id: Uuid, kind: Kind, everywhere: bool, body: Value) {
    let stage = inn.stage();
    let scope = Scope { workspace_id, admin: true };
    let vault = Vault::from_settings(&stage.settings.secrets).expect("the sample key");
    let secret = match kind {
        Kind::Ses => None,
        Kind::Sendgrid => Some(STANDARD.encode([7; 91]).into()),
        _ => Some("a secret of sixteen".to_owned().into()),
    };
    let topic = (kind == Kind::Ses).then(|| "arn:aws:sns:eu-west-1:1:feedback".to_owned());
    let name = Uuid::now_v7().to_string();
    let new = NewSource { kind, name, secret, topic, everywhere };
    let mut connection = stage.pool.acquire().await.expect("a connection");
    let (source, _) = source::create(&mut connection, scope, &vault, new).await.expect("a source");
    assert!(post::store(&stage.pool, source.id, b"once", body.to_string().as_bytes()).await.expect("stored"));
    assert!(!post::store(&stage.pool, source.id, b"once", b"again").await.expect("not stored"));
}

#[tokio::test]
async fn what_providers_tell_is_taken_by_our_return_path_or_message_id_and_within_the_workspace() {
    let inn = Inn::new().await;
    let own = inn.fixture.workspace_id;
    let id = |index: usize| message_id(inn.fixture.campaign_id, inn.contacts[index], "example.com");
    let bounced =
        json!([{ "emailAddress": "x@orchard.test", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 no such user" }]);
    let message = json!({ "notificationType": "Bounce", "mail": { "source": inn.return_path(0) },
        "bounce": { "bounceType": "Permanent", "bounceSubType": "General", "bouncedRecipients": bounced } });
    told(&inn, own, Kind::Ses, false, json!({ "Type": "Notification", "Message": message.to_string() })).await;
    let events = json!([{ "event": "delivered", "smtp-id": id(1) }, { "event": "spamreport", "smtp-id": id(1) }]);
    told(&inn, own, Kind::Sendgrid, false, events).await;
    let failed = json!({ "event-data": { "event": "failed", "severity": "temporary", "delivery-status": { "code": 452, "message": "over quota" },
        "message": { "headers": { "message-id": id(2).trim_matches(['<', '>']) } } } });
    told(&inn, own, Kind::Mailgun, false, failed).await;
    let change = json!({ "RecordType": "SubscriptionChange", "SuppressSending": true, "SuppressionReason": "ManualSuppression",
        "Metadata": { "mail": id(2) } });
    told(&inn, own, Kind::Postmark, false, change).await;
    told(&inn, own, Kind::Generic, false, json!({ "events": [{ "event": "bounce", "class": "quota", "message_id": id(2) }] }))
        .await;
    // Of a mail that was not sent, of another sender's, and as nobody writes.
    let strange = message_id(inn.fixture.campaign_id, Uuid::now_v7(), "example.com");
    told(&inn, own, Kind::Generic, false, json!({ "event": "complaint", "message_id": strange })).await;
    told(&inn, own, Kind::Sendgrid, false, json!({ "event": "spamreport" })).await;
    // Another workspace's source, and one that may tell of all.
    let other = inn.stage().workspace("other").await;
    told(&inn, other, Kind::Generic, false, json!({ "event": "complaint", "message_id": id(0) })).await;
    told(&inn, other, Kind::Generic, true, json!({ "event": "delay", "message_id": id(1) })).await;
    inn.read_all().await;
    let told = "SELECT string_agg(source || ' ' || kind || ' ' || hard, ', ' ORDER BY source, kind) FROM feedback_events";
    let expected = "generic bounce false, generic delay false, mailgun delay false, postmark unsubscribe false, \
                    sendgrid complaint false, ses bounce true";
    assert_eq!(inn.stage().text(told, "").await, expected);
    assert_eq!((inn.count(COMPLAINED).await, inn.count(UNSUBSCRIBED).await, inn.count(SUPPRESSED).await), (1, 2, 3));
    assert_eq!(inn.count("SELECT count(*) FROM deliveries WHERE state = 'bounced'").await, 2);
    assert_eq!(inn.count("SELECT count(*) FROM feedback_posts WHERE state = 'unusable'").await, 3);
}
