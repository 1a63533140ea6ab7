//! The job of this domain.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::queue::{lane::Lane, payload::Job};

/// Sends one message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SendMessage {
    /// Which.
    pub message_id: Uuid,
}

impl Job for SendMessage {
    const NAME: &'static str = "SendMessage";
    const LANE: Lane = Lane::Critical;
    const TIMEOUT: Duration = Duration::from_secs(600);
}
