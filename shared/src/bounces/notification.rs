//! Notices of Amazon SES that come as a mail with JSON in it, or as that JSON alone.

use std::collections::HashSet;

use serde::Deserialize;

use super::{
    address,
    evidence::{Evidence, enhanced_code},
    sections::{Mail, Role},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notification {
    #[serde(alias = "eventType")]
    notification_type: String,
    bounce: Option<Bounce>,
    complaint: Option<Complaint>,
    delivery: Option<Delivery>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bounce {
    #[serde(default)]
    bounce_type: String,
    #[serde(default)]
    bounced_recipients: Vec<Recipient>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recipient {
    email_address: String,
    action: Option<String>,
    status: Option<String>,
    diagnostic_code: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Complaint {
    #[serde(default)]
    complained_recipients: Vec<Recipient>,
    complaint_feedback_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delivery {
    #[serde(default)]
    recipients: Vec<String>,
    #[serde(default)]
    smtp_response: String,
}

/// What such a notice says.
pub(super) enum Said {
    /// Recipients that a message reached, or did not.
    Outcome(Vec<Evidence>),
    /// The feedback type, and who complained.
    Complaint(String, Vec<String>),
}

/// Reads the notice; none if it is not one.
pub(super) fn read(mail: &Mail) -> Option<Said> {
    mail.texts(Role::Human).filter(|text| text.contains("notificationType") || text.contains("eventType")).find_map(parse)
}

fn parse(text: &str) -> Option<Said> {
    let start = text.find('{')?;
    // Lines of more than 998 octets were broken with "!\n ", RFC 5321 allows no longer ones.
    let whole = text.get(start..)?.replace("!\n ", "").replace('\n', "");
    let notice = serde_json::Deserializer::from_str(&whole).into_iter::<serde_json::Value>().next()?.ok()?;
    let notice = match notice.get("Message").and_then(serde_json::Value::as_str) {
        Some(inner) => serde_json::from_str(inner).ok()?,
        None => notice,
    };
    let notice: Notification = serde_json::from_value(notice).ok()?;
    match (notice.notification_type.as_str(), notice.bounce, notice.complaint, notice.delivery) {
        ("Bounce", Some(bounce), ..) => {
            let hard = bounce.bounce_type == "Permanent";
            let bounced = bounce.bounced_recipients.into_iter().map(|recipient| of(recipient, hard));
            Some(Said::Outcome(bounced.filter(|one| !one.recipient.is_empty()).collect()))
        }
        ("Complaint", _, Some(complaint), _) => {
            let mut named = HashSet::new();
            let complained = complaint.complained_recipients.into_iter().map(|recipient| recipient.email_address.trim().to_owned());
            let complained = complained.filter(|one| !one.is_empty() && named.insert(address::same(one)));
            Some(Said::Complaint(complaint.complaint_feedback_type.unwrap_or_else(|| "abuse".to_owned()), complained.collect()))
        }
        ("Delivery", .., Some(delivery)) => {
            let arrived = delivery.recipients.into_iter().map(|recipient| Evidence {
                recipient: recipient.trim().to_owned(),
                action: Some("delivered".to_owned()),
                status: enhanced_code(&delivery.smtp_response),
                diagnostic: delivery.smtp_response.clone(),
                ..Evidence::default()
            });
            Some(Said::Outcome(arrived.filter(|one| !one.recipient.is_empty()).collect()))
        }
        _ => None,
    }
}

fn of(recipient: Recipient, permanent: bool) -> Evidence {
    let diagnostic = recipient.diagnostic_code.unwrap_or_default();
    let diagnostic = diagnostic.strip_prefix("smtp;").unwrap_or(&diagnostic).trim().to_owned();
    Evidence {
        recipient: recipient.email_address.trim().to_owned(),
        action: Some(recipient.action.unwrap_or_else(|| "failed".to_owned()).to_ascii_lowercase()),
        status: recipient.status.or_else(|| permanent.then(|| "5.0.0".to_owned())),
        diagnostic,
        ..Evidence::default()
    }
}
