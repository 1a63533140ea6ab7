//! Mailgun's webhooks: `signature` in the body is the HMAC-SHA256 of timestamp and token under the account's signing key. It does not cover
//! the event, so each token is good once.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{PATIENCE, Refusal, Told, in_time, is_hmac, seconds, sha256, text};
use crate::{
    deliveries::bounce_rules,
    feedback::fact::{Bounce, What},
};

/// Checks a post. Answers what tells it from another one.
///
/// # Errors
/// It is not Mailgun's, or too old.
pub fn check(secret: &[u8], body: &[u8], now: DateTime<Utc>) -> Result<Vec<u8>, Refusal> {
    let body: Value = serde_json::from_slice(body).map_err(|_| Refusal("it is not JSON"))?;
    let part = |name: &str| text(&body, &format!("/signature/{name}"));
    let (Some(timestamp), Some(token), Some(signature)) = (part("timestamp"), part("token"), part("signature")) else {
        return Err(Refusal("it has no signature"));
    };
    if !is_hmac(secret, format!("{timestamp}{token}").as_bytes(), signature) {
        return Err(Refusal("its signature is wrong"));
    }
    in_time(seconds(timestamp), now, PATIENCE)?;
    Ok(sha256(token.as_bytes()))
}

pub(super) fn told(body: &Value) -> Option<Vec<Told>> {
    let event = body.get("event-data")?;
    let what = match text(event, "/event")? {
        "failed" => {
            let bounce = bounce(event);
            match text(event, "/severity") {
                Some("temporary") => What::Delay(bounce),
                _ => What::Bounce(bounce),
            }
        }
        "complained" => What::Complaint("abuse".to_owned()),
        "unsubscribed" => What::Unsubscribe,
        _ => return Some(Vec::new()),
    };
    Some(vec![Told { what, event: event.to_string() }])
}

fn bounce(event: &Value) -> Bounce {
    let code = event.pointer("/delivery-status/code").and_then(Value::as_i64).and_then(|code| u16::try_from(code).ok());
    let status = text(event, "/delivery-status/enhanced-code");
    let diagnostic = text(event, "/delivery-status/message").or_else(|| text(event, "/delivery-status/description"));
    let verdict = bounce_rules::judge(status, code, diagnostic.unwrap_or_default());
    // 605: an address that bounced before, and is on Mailgun's own list.
    let known = text(event, "/reason") == Some("suppress-bounce");
    Bounce {
        class: verdict.class.as_str().to_owned(),
        hard: known || verdict.hard,
        smtp_code: code.and_then(|code| i16::try_from(code).ok()),
        status: status.map(str::to_owned),
        diagnostic: diagnostic.map(str::to_owned),
    }
}
