//! Complaints: RFC 5965, and what Hotmail and Apple send in its place.

use super::{
    Original, address,
    lines::{self, Headers},
    sections::{Mail, Role},
};

/// A complaint.
pub(super) struct Complaint {
    pub feedback_type: String,
    pub recipients: Vec<String>,
    pub source: String,
}

/// Reads a complaint; none if it is not one.
pub(super) fn complaint(mail: &Mail, headers: &Headers, original: &Original) -> Option<Complaint> {
    let report =
        mail.headers.parameter("content-type", "report-type").is_some_and(|kind| kind.eq_ignore_ascii_case("feedback-report"));
    let mut fields = Headers(mail.texts(Role::Feedback).flat_map(|text| read(text).0).collect());
    if fields.0.is_empty() {
        // The fields survive in a part that lost its type.
        let loose = mail
            .texts(Role::Human)
            .map(read)
            .find(|fields| fields.get("feedback-type").is_some() && fields.get("user-agent").is_some());
        fields = loose.unwrap_or_default();
    }
    let typed = fields.get("feedback-type").map(|kind| kind.split([';', ' ']).next().unwrap_or_default().to_ascii_lowercase());
    let hotmail = headers.get("x-hmxmroriginalrecipient").is_some()
        || mail.headers.get("from").is_some_and(|from| from.to_ascii_lowercase().contains("staff@hotmail.com"));
    let unsubscribe = mail.headers.get("x-apple-unsubscribe").is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
    if unsubscribe {
        let from = mail.headers.get("from").and_then(address::first).map(str::to_owned);
        return Some(Complaint {
            feedback_type: "opt-out".to_owned(),
            recipients: from.into_iter().collect(),
            source: String::new(),
        });
    }
    if !(report || typed.is_some() || hotmail && (headers.get("x-hmxmroriginalrecipient").is_some() || says_complaint(mail))) {
        return None;
    }
    let named: Vec<&str> =
        ["original-rcpt-to", "removal-recipient", "original-recipient"].iter().flat_map(|name| fields.all(name)).collect();
    let mut recipients: Vec<String> = Vec::new();
    let found = named
        .iter()
        .filter_map(|value| address::of_field(value))
        .chain(headers.all("x-hmxmroriginalrecipient").filter_map(address::first).map(str::to_owned));
    for recipient in found {
        if !recipients.iter().any(|known| address::same(known) == address::same(&recipient)) {
            recipients.push(recipient);
        }
    }
    if recipients.is_empty() {
        recipients.extend(original.recipients.first().cloned());
    }
    Some(Complaint {
        feedback_type: typed.filter(|kind| !kind.is_empty()).unwrap_or_else(|| "abuse".to_owned()),
        recipients,
        source: fields.get("user-agent").or_else(|| fields.get("source")).unwrap_or_default().to_owned(),
    })
}

fn says_complaint(mail: &Mail) -> bool {
    mail.headers.get("subject").is_some_and(|subject| subject.to_ascii_lowercase().contains("complaint about message"))
}

/// All fields of a text, whatever lines stand between.
fn read(text: &str) -> Headers {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        match lines::field(line) {
            Some((name, value)) => fields.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => {
                if let Some((_, value)) = fields.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            }
        }
    }
    Headers(fields)
}
