//! A fact about a mail that was handed over.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Which mail a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum About {
    /// A campaign's to one recipient.
    Delivery {
        /// The campaign.
        campaign_id: Uuid,
        /// The recipient.
        contact_id: Uuid,
    },
    /// A transactional one.
    Message {
        /// Its id.
        message_id: Uuid,
    },
}

/// On which way a fact came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The answer of the SMTP session.
    Smtp,
    /// A delivery status notification, or a bounce in a format of its own.
    Dsn,
    /// A report of a feedback loop (RFC 5965).
    Arf,
    /// A mail to the unsubscribe address.
    Mailto,
    /// Amazon SES through SNS.
    Ses,
    /// SendGrid's event webhook.
    Sendgrid,
    /// Mailgun's webhook.
    Mailgun,
    /// Postmark's webhook.
    Postmark,
    /// A webhook signed as we say.
    Generic,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 9] =
        [Self::Smtp, Self::Dsn, Self::Arf, Self::Mailto, Self::Ses, Self::Sendgrid, Self::Mailgun, Self::Postmark, Self::Generic];

    /// As in the table and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Dsn => "dsn",
            Self::Arf => "arf",
            Self::Mailto => "mailto",
            Self::Ses => "ses",
            Self::Sendgrid => "sendgrid",
            Self::Mailgun => "mailgun",
            Self::Postmark => "postmark",
            Self::Generic => "generic",
        }
    }
}

/// What a bounce or a delay says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounce {
    /// The classifier's word.
    pub class: String,
    /// The address will never take mail.
    pub hard: bool,
    /// Three digits, where they are known.
    pub smtp_code: Option<i16>,
    /// `x.y.z`, where it is known.
    pub status: Option<String>,
    /// The server's words.
    pub diagnostic: Option<String>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It was not delivered after all.
    Bounce(Bounce),
    /// It is late: nothing changes.
    Delay(Bounce),
    /// The recipient called it spam; the feedback type, e.g. `abuse`.
    Complaint(String),
    /// The recipient wants no more.
    Unsubscribe,
}

impl What {
    /// As in the table and in metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Bounce(_) => "bounce",
            Self::Delay(_) => "delay",
            Self::Complaint(_) => "complaint",
            Self::Unsubscribe => "unsubscribe",
        }
    }
}

/// What was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Of which mail.
    pub about: About,
    /// By whom.
    pub source: Source,
    /// What.
    pub what: What,
    /// When we heard of it.
    pub received_at: DateTime<Utc>,
}

/// Octets of a diagnostic that are kept.
const LONGEST_DIAGNOSTIC: usize = 1000;

impl Fact {
    /// Equal for the same fact, however often and on however many ways it is told: a mail bounces once for one reason, is complained about
    /// once, and is unsubscribed from once.
    #[must_use]
    pub fn dedupe_key(&self) -> String {
        let about = match self.about {
            About::Delivery { campaign_id, contact_id } => format!("{campaign_id} {contact_id}"),
            About::Message { message_id } => message_id.to_string(),
        };
        match &self.what {
            What::Bounce(bounce) | What::Delay(bounce) => {
                let (class, status) = (&bounce.class, bounce.status.as_deref().unwrap_or_default());
                format!("{} {about} {class} {status}", self.what.name())
            }
            What::Complaint(_) | What::Unsubscribe => format!("{} {about}", self.what.name()),
        }
    }

    pub(super) fn bounce(&self) -> Option<&Bounce> {
        match &self.what {
            What::Bounce(bounce) | What::Delay(bounce) => Some(bounce),
            What::Complaint(_) | What::Unsubscribe => None,
        }
    }
}

/// Text of strangers as the table takes it: no NUL, not endless.
pub(super) fn clean(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(LONGEST_DIAGNOSTIC).collect()
}
