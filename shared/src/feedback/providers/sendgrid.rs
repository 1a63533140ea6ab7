//! SendGrid's event webhook: an ECDSA signature (P-256, SHA-256) of the timestamp's header and the body.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{PATIENCE, Refusal, Told, in_time, seconds, sha256, text};
use crate::{
    deliveries::bounce_rules,
    feedback::fact::{Bounce, What},
};

/// Checks a post against the public key, which is base64 as SendGrid shows it. Answers what tells it from another one.
///
/// # Errors
/// It is not SendGrid's, or too old.
pub fn check(key: &[u8], timestamp: &str, signature: &str, body: &[u8], now: DateTime<Utc>) -> Result<Vec<u8>, Refusal> {
    let key = STANDARD.decode(key).map_err(|_| Refusal("the source's key is not base64"))?;
    let signature = STANDARD.decode(signature).map_err(|_| Refusal("its signature is not base64"))?;
    let signed = [timestamp.as_bytes(), body].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
        .verify(&signed, &signature)
        .map_err(|_| Refusal("its signature is wrong"))?;
    in_time(seconds(timestamp), now, PATIENCE)?;
    Ok(sha256(&signed))
}

pub(super) fn told(body: &Value) -> Option<Vec<Told>> {
    Some(body.as_array()?.iter().filter_map(one).collect())
}

fn one(event: &Value) -> Option<Told> {
    let what = match text(event, "/event")? {
        "bounce" => What::Bounce(bounce(event, text(event, "/type") == Some("blocked"))),
        // It was never sent: SendGrid's own list has it.
        "dropped" => What::Bounce(bounce(event, false)),
        "deferred" => What::Delay(bounce(event, true)),
        "spamreport" => What::Complaint("abuse".to_owned()),
        "unsubscribe" | "group_unsubscribe" => What::Unsubscribe,
        _ => return None,
    };
    Some(Told { what, event: event.to_string() })
}

fn bounce(event: &Value, blocked: bool) -> Bounce {
    let status = text(event, "/status");
    let diagnostic = text(event, "/reason").or_else(|| text(event, "/response"));
    let code = diagnostic
        .and_then(|text| text.get(..3))
        .and_then(|code| code.parse::<u16>().ok())
        .filter(|code| (400..600).contains(code));
    let code = code.or_else(|| status.map(|status| if status.starts_with('4') { 450 } else { 550 }));
    let verdict = bounce_rules::judge(status, code, diagnostic.unwrap_or_default());
    let known = matches!(diagnostic, Some("Bounced Address" | "Invalid"));
    let class = if blocked && verdict.hard { "policy" } else { verdict.class.as_str() };
    Bounce {
        class: class.to_owned(),
        hard: known || (verdict.hard && !blocked),
        smtp_code: code.and_then(|code| i16::try_from(code).ok()),
        status: status.map(str::to_owned),
        diagnostic: diagnostic.map(str::to_owned),
    }
}
