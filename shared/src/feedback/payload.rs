//! Jobs of this domain.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::queue::{lane::Lane, payload::Job};

/// Reads a mail that the listener took, and takes the facts in it. A mail that nobody can read is marked, so that it comes round no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadNotice {
    /// Which.
    pub inbound_mail_id: Uuid,
}

impl Job for ReadNotice {
    const NAME: &'static str = "ReadNotice";
    const LANE: Lane = Lane::Webhooks;
    const TIMEOUT: Duration = Duration::from_secs(60);
}

/// Reads a provider's post, and takes the facts in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadPost {
    /// Which.
    pub feedback_post_id: Uuid,
}

impl Job for ReadPost {
    const NAME: &'static str = "ReadPost";
    const LANE: Lane = Lane::Webhooks;
    const TIMEOUT: Duration = Duration::from_secs(60);
}
