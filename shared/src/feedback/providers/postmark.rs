//! Postmark's webhooks: they carry what stands in their address, a user and a password, as basic authentication.
//!
//! Its own MessageID says nothing to us: the event must hold ours, in its metadata or in the bounce that it quotes.

use aws_lc_rs::constant_time;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{Refusal, Told, sha256, text};
use crate::feedback::fact::{Bounce, What};

/// Checks a post by its `Authorization`. Answers what tells it from another one: there is nothing but the body.
///
/// # Errors
/// It is not the source's.
pub fn check(secret: &[u8], authorization: &str, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let (scheme, credentials) = authorization.split_once(' ').unwrap_or_default();
    let decoded = STANDARD.decode(credentials.trim()).unwrap_or_default();
    let password = decoded.iter().position(|octet| *octet == b':').map(|at| &decoded[at + 1..]).unwrap_or_default();
    let good = constant_time::verify_slices_are_equal(&sha256(password), &sha256(secret)).is_ok();
    if !scheme.eq_ignore_ascii_case("basic") || !good {
        return Err(Refusal("its password is wrong"));
    }
    Ok(sha256(body))
}

pub(super) fn told(event: &Value) -> Option<Vec<Told>> {
    let what = match text(event, "/RecordType")? {
        "Bounce" => match text(event, "/Type")? {
            "SpamComplaint" => What::Complaint("abuse".to_owned()),
            "Unsubscribe" => What::Unsubscribe,
            kind @ ("HardBounce" | "BadEmailAddress") => What::Bounce(bounce(event, kind, true)),
            kind @ ("SoftBounce"
            | "Transient"
            | "DnsError"
            | "Blocked"
            | "SpamNotification"
            | "DMARCPolicy"
            | "ManuallyDeactivated"
            | "Unknown") => What::Bounce(bounce(event, kind, false)),
            // Answers of people and machines, and changes of addresses.
            _ => return Some(Vec::new()),
        },
        "SpamComplaint" => What::Complaint("abuse".to_owned()),
        "SubscriptionChange" if event.get("SuppressSending").and_then(Value::as_bool) == Some(true) => {
            match text(event, "/SuppressionReason")? {
                "HardBounce" => What::Bounce(bounce(event, "HardBounce", true)),
                "SpamComplaint" => What::Complaint("abuse".to_owned()),
                _ => What::Unsubscribe,
            }
        }
        _ => return Some(Vec::new()),
    };
    Some(vec![Told { what, event: event.to_string() }])
}

fn bounce(event: &Value, kind: &str, hard: bool) -> Bounce {
    let class = match kind {
        "HardBounce" | "BadEmailAddress" => "invalid_recipient",
        "Blocked" | "DMARCPolicy" => "policy",
        "SpamNotification" => "spam_block",
        "DnsError" => "routing",
        _ => "transient",
    };
    let diagnostic = text(event, "/Details").or_else(|| text(event, "/Description"));
    Bounce { class: class.to_owned(), hard, smtp_code: None, status: None, diagnostic: diagnostic.map(str::to_owned) }
}
