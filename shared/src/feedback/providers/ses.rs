//! Amazon SES through SNS: the envelope is signed with a certificate that it names. Amazon signs for everybody, so a source names its one
//! topic, and certificates come from Amazon's hosts alone.

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RsaParameters, UnparsedPublicKey,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use url::{Host, Url};

use super::{PATIENCE, Refusal, Told, in_time, sha256, text};
use crate::{
    deliveries::bounce_rules,
    feedback::fact::{Bounce, What},
};

/// What SNS posts.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "Amazon's names")]
pub struct Envelope {
    #[serde(rename = "Type")]
    pub kind: String,
    pub message_id: String,
    pub topic_arn: String,
    pub message: String,
    pub timestamp: String,
    pub signature_version: String,
    pub signature: String,
    #[serde(rename = "SigningCertURL")]
    pub signing_cert_url: String,
    pub subject: Option<String>,
    pub token: Option<String>,
    #[serde(rename = "SubscribeURL")]
    pub subscribe_url: Option<String>,
}

impl Envelope {
    /// Reads a post, and refuses what need not be looked at: another topic, another time, a certificate of somebody else.
    ///
    /// # Errors
    /// It is not SNS's, or not the source's.
    pub fn read(body: &[u8], topic: &str, now: DateTime<Utc>) -> Result<Self, Refusal> {
        let envelope: Self = serde_json::from_slice(body).map_err(|_| Refusal("it is not as SNS writes"))?;
        if envelope.topic_arn != topic {
            return Err(Refusal("it is of another topic"));
        }
        in_time(envelope.timestamp.parse().ok(), now, PATIENCE)?;
        envelope.certificate_url()?;
        Ok(envelope)
    }

    /// Where its certificate is.
    ///
    /// # Errors
    /// That is not Amazon's.
    pub fn certificate_url(&self) -> Result<Url, Refusal> {
        of_amazon(&self.signing_cert_url)
            .filter(|url| url.path().ends_with(".pem"))
            .ok_or(Refusal("its certificate is not one of Amazon's"))
    }

    /// Where a subscription is confirmed, if that is what it asks.
    ///
    /// # Errors
    /// That is not Amazon's.
    pub fn confirmation_url(&self) -> Result<Option<Url>, Refusal> {
        if self.kind != "SubscriptionConfirmation" {
            return Ok(None);
        }
        let url = self.subscribe_url.as_deref().and_then(of_amazon);
        url.map(Some).ok_or(Refusal("its confirmation is not at one of Amazon's addresses"))
    }

    /// Checks the signature against the certificate's key (`SubjectPublicKeyInfo`). Answers what tells the post from another one.
    ///
    /// # Errors
    /// It is not Amazon's.
    pub fn check(&self, key: &[u8]) -> Result<Vec<u8>, Refusal> {
        let algorithm: &'static RsaParameters = match self.signature_version.as_str() {
            "1" => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            "2" => &RSA_PKCS1_2048_8192_SHA256,
            _ => return Err(Refusal("its signature is of a version that is not known")),
        };
        let signature = STANDARD.decode(&self.signature).map_err(|_| Refusal("its signature is not base64"))?;
        UnparsedPublicKey::new(algorithm, key)
            .verify(self.signed().as_bytes(), &signature)
            .map_err(|_| Refusal("its signature is wrong"))?;
        Ok(sha256(self.message_id.as_bytes()))
    }

    /// What is signed: these names and values, each on a line, in this order.
    #[must_use]
    pub fn signed(&self) -> String {
        let mut signed = String::new();
        let mut line = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                signed.push_str(&format!("{name}\n{value}\n"));
            }
        };
        let notification = self.kind == "Notification";
        line("Message", Some(&self.message));
        line("MessageId", Some(&self.message_id));
        line("Subject", self.subject.as_deref().filter(|_| notification));
        line("SubscribeURL", self.subscribe_url.as_deref().filter(|_| !notification));
        line("Timestamp", Some(&self.timestamp));
        line("Token", self.token.as_deref().filter(|_| !notification));
        line("TopicArn", Some(&self.topic_arn));
        line("Type", Some(&self.kind));
        signed
    }
}

/// An address of SNS: `https://sns.<region>.amazonaws.com`, and of its parts in China.
fn of_amazon(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let Some(Host::Domain(host)) = url.host() else { return None };
    let region = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?.strip_prefix("sns.")?;
    let plain = !region.is_empty() && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let bare = url.username().is_empty() && url.password().is_none() && url.port().is_none();
    (url.scheme() == "https" && plain && bare).then_some(url)
}

pub(super) fn told(envelope: &Value) -> Option<Vec<Told>> {
    if text(envelope, "/Type")? != "Notification" {
        return Some(Vec::new());
    }
    let message: Value = serde_json::from_str(text(envelope, "/Message")?).ok()?;
    let kind = text(&message, "/notificationType").or_else(|| text(&message, "/eventType"))?;
    let event = message.to_string();
    let tell = |what| Told { what, event: event.clone() };
    let each = |pointer: &str| message.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    Some(match kind {
        "Bounce" => {
            let permanent = text(&message, "/bounce/bounceType") == Some("Permanent");
            let subtype = text(&message, "/bounce/bounceSubType").unwrap_or_default();
            each("/bounce/bouncedRecipients")
                .iter()
                .map(|recipient| tell(What::Bounce(bounce(recipient, permanent, subtype))))
                .collect()
        }
        // Amazon's own list: nobody complained about this mail.
        "Complaint" if text(&message, "/complaint/complaintSubType").is_some() => Vec::new(),
        "Complaint" => match text(&message, "/complaint/complaintFeedbackType") {
            Some("not-spam") => Vec::new(),
            other => vec![tell(What::Complaint(other.unwrap_or("abuse").to_owned()))],
        },
        "DeliveryDelay" => each("/deliveryDelay/delayedRecipients")
            .iter()
            .map(|recipient| tell(What::Delay(bounce(recipient, false, ""))))
            .collect(),
        _ => Vec::new(),
    })
}

fn bounce(recipient: &Value, permanent: bool, subtype: &str) -> Bounce {
    let status = text(recipient, "/status");
    let diagnostic = text(recipient, "/diagnosticCode").map(|text| text.strip_prefix("smtp;").unwrap_or(text).trim());
    let code = diagnostic
        .and_then(|text| text.get(..3))
        .and_then(|code| code.parse::<u16>().ok())
        .filter(|code| (400..600).contains(code));
    let verdict = bounce_rules::judge(status, code.or(Some(if permanent { 550 } else { 450 })), diagnostic.unwrap_or_default());
    // Amazon calls permanent what it will not try again; of these the address is at fault where it says so.
    let hard = permanent && (matches!(subtype, "NoEmail" | "Suppressed" | "OnAccountSuppressionList") || verdict.hard);
    Bounce {
        class: verdict.class.as_str().to_owned(),
        hard,
        smtp_code: code.and_then(|code| i16::try_from(code).ok()),
        status: status.map(str::to_owned),
        diagnostic: diagnostic.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_amazons_own_addresses_are_called() {
        for (url, good) in [
            ("https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem", true),
            ("https://sns.cn-north-1.amazonaws.com.cn/x.pem", true),
            ("http://sns.eu-west-1.amazonaws.com/x.pem", false),
            ("https://sns.eu-west-1.amazonaws.com:8443/x.pem", false),
            ("https://sns.eu-west-1.amazonaws.com@evil.test/x.pem", false),
            ("https://sns.evil.test/x.pem", false),
            ("https://sns.a.b.amazonaws.com/x.pem", false),
            ("https://bucket.s3.amazonaws.com/x.pem", false),
            ("https://sns..amazonaws.com/x.pem", false),
            ("https://sns.evilamazonaws.com/x.pem", false),
            ("https://127.0.0.1/x.pem", false),
        ] {
            assert_eq!(of_amazon(url).is_some(), good, "{url}");
        }
    }

    /// A key that was made for this test, and its signature of version 1 (SHA-1), by OpenSSL.
    const KEY: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA3KHyAHi43H+W16PpRrJhbgIKchQ6ge4iqQttb7XRkGtqRY7evzaCPRG247p2+wz53Y \
        TcLF0gLJWUlWIcQTHNzbNU2eSssBzin8UerYZqYDqa2Vdm9b399bnJIoaFXmfC5a4hS9JTY1mZe5x9uc6ZiBxRvrxuHVJ46EY8OfKgc2Wh0xpq \
        Y2BuLarzj4PTBKTSmU9DgVShA3VQUQQUO2lKdqrFdC35CbPuHQfmS6GvcqINMZV6/Lma7ngM5YxZhFqs4chEbBgVEIxe2wdNlkDcuH25T76+MA \
        ThPv30LHniKVoQb3f4QmPVpcUTfQTvc1e33pOzNC1i4J9w1QmTX3xf9wIDAQAB";
    const SIGNATURE: &str = "gzZIJn/+bI3bsaTJS3oygh19RoeuE9ZkLPfETuVGsttFWGxMK0WUXMSSwZ90d3e2A/lTZhjc74Z5+4/coH2ZjDmUEXTVyxEaqNGGSdSuZP3DJ3 \
        5bk8tZGZHiIp0og1UmqmGxCA2TAO6eYi2x68LX0nLiKFHIBa35kqqz4y/ky6tLbIUEKF2R64hGrByEnyr+RgUdwe4sN0f0bJ4pTV9fjnHqWjnD \
        IQxF/GRs+PtSANxE2uGI9cQUK9z3rvTYEtVP9HRll70BxZHbGM5j3JQI8nCjOTWLKjXWJM4r/upTGZIYOMnRqKRnFv7zFsX57RlhoCYUUmyXAe \
        tXG9rHMvw/lw==";

    #[test]
    fn a_signature_of_version_1_is_checked_too() {
        let decode = |text: &str| STANDARD.decode(text.replace(char::is_whitespace, "")).expect("base64");
        let mut envelope = Envelope {
            kind: "Notification".to_owned(),
            message_id: "1".to_owned(),
            topic_arn: "arn:aws:sns:eu-west-1:1:t".to_owned(),
            message: "hello".to_owned(),
            timestamp: "2026-01-15T12:00:00Z".to_owned(),
            signature_version: "1".to_owned(),
            signature: SIGNATURE.replace(char::is_whitespace, ""),
            signing_cert_url: "https://sns.eu-west-1.amazonaws.com/x.pem".to_owned(),
            subject: None,
            token: None,
            subscribe_url: None,
        };
        assert!(envelope.check(&decode(KEY)).is_ok());
        envelope.message = "hullo".to_owned();
        assert_eq!(envelope.check(&decode(KEY)), Err(Refusal("its signature is wrong")));
    }
}
