//! What a mail that came back says: facts, without the mail that they are about. A rule without SQL.

use super::fact::{Bounce, What};
use crate::bounces::{self, Bounced, Kind};

/// What a mail was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// One word, as in the table and in metrics.
    pub kind: &'static str,
    /// What it says, if anything.
    pub fact: Option<What>,
}

/// Reads a mail about one recipient of ours: the envelope says which. It may name others, behind a forward; the worst counts.
#[must_use]
pub fn read(raw: &[u8]) -> Notice {
    let told = bounces::parse(raw);
    match told.kind {
        Kind::Arf => Notice { kind: "arf", fact: complaint(told.feedback_type.as_deref().unwrap_or("abuse")) },
        Kind::Dsn => Notice { kind: "dsn", fact: outcome(&told.recipients) },
        Kind::Other => Notice { kind: "other", fact: None },
    }
}

/// By the report's type (RFC 5965 section 3.1): what is not spam is no complaint, and who opts out unsubscribes.
fn complaint(feedback_type: &str) -> Option<What> {
    match feedback_type.to_ascii_lowercase().as_str() {
        "not-spam" | "auth-failure" | "dmarc" => None,
        "opt-out" | "opt-out-list" => Some(What::Unsubscribe),
        other => Some(What::Complaint(other.to_owned())),
    }
}

fn outcome(recipients: &[Bounced]) -> Option<What> {
    let failed = recipients.iter().filter(|one| one.action == "failed").max_by_key(|one| one.hard);
    if let Some(failed) = failed {
        return Some(What::Bounce(bounce(failed)));
    }
    recipients.iter().find(|one| one.action == "delayed").map(|delayed| What::Delay(bounce(delayed)))
}

fn bounce(told: &Bounced) -> Bounce {
    Bounce {
        class: told.class.as_str().to_owned(),
        hard: told.hard,
        smtp_code: told.reply_code.and_then(|code| i16::try_from(code).ok()),
        status: told.status.clone(),
        diagnostic: Some(told.diagnostic.clone()).filter(|words| !words.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opting_out_is_no_complaint_and_what_is_not_spam_is_nothing() {
        assert_eq!(complaint("abuse"), Some(What::Complaint("abuse".to_owned())));
        assert_eq!(complaint("Opt-Out"), Some(What::Unsubscribe));
        assert_eq!(complaint("not-spam"), None);
    }
}
