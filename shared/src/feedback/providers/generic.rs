//! A post of anybody who signs as we say: `X-Mochila-Signature` is the HMAC-SHA256, in hexadecimal, of the timestamp, a dot and the body, under
//! the source's secret.
//!
//! The body is an event or `{"events": [...]}`. An event has `event` (bounce, delay, complaint, unsubscribe), `message_id` (ours), and of
//! bounces `hard`, `code`, `status` and `diagnostic`.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::{Refusal, Told, in_time, is_hmac, seconds, sha256, text};
use crate::feedback::fact::{Bounce, What};

/// Who signs as we say signs anew for each try.
const PATIENCE: TimeDelta = TimeDelta::minutes(5);

/// Checks a post. Answers what tells it from another one.
///
/// # Errors
/// It is not the source's, or too old.
pub fn check(secret: &[u8], timestamp: &str, signature: &str, body: &[u8], now: DateTime<Utc>) -> Result<Vec<u8>, Refusal> {
    let signed = [timestamp.as_bytes(), b".", body].concat();
    if !is_hmac(secret, &signed, signature) {
        return Err(Refusal("its signature is wrong"));
    }
    in_time(seconds(timestamp), now, PATIENCE)?;
    Ok(sha256(&signed))
}

pub(super) fn told(body: &Value) -> Option<Vec<Told>> {
    match body.get("events") {
        Some(events) => Some(events.as_array()?.iter().filter_map(one).collect()),
        None => Some(vec![one(body)?]),
    }
}

fn one(event: &Value) -> Option<Told> {
    let bounce = |hard: bool| Bounce {
        class: text(event, "/class").unwrap_or(if hard { "invalid_recipient" } else { "transient" }).to_owned(),
        hard,
        smtp_code: event.get("code").and_then(Value::as_i64).and_then(|code| i16::try_from(code).ok()),
        status: text(event, "/status").map(str::to_owned),
        diagnostic: text(event, "/diagnostic").map(str::to_owned),
    };
    let what = match text(event, "/event")? {
        "bounce" => What::Bounce(bounce(event.get("hard").and_then(Value::as_bool).unwrap_or(false))),
        "delay" => What::Delay(bounce(false)),
        "complaint" => What::Complaint(text(event, "/feedback_type").unwrap_or("abuse").to_owned()),
        "unsubscribe" => What::Unsubscribe,
        _ => return None,
    };
    Some(Told { what, event: event.to_string() })
}
