//! Jobs of this domain.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::queue::{lane::Lane, payload::Job};

/// Freezes the audience.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LaunchCampaign {
    /// The campaign.
    pub campaign_id: Uuid,
}

impl Job for LaunchCampaign {
    const NAME: &'static str = "LaunchCampaign";
    const LANE: Lane = Lane::Bulk;
    // A campaign whose launch is dead needs a person: it must take a lot.
    const ATTEMPTS: i32 = 10;
    const TIMEOUT: Duration = Duration::from_secs(3600);
}

/// Cancels whoever had no attempt yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CancelRecipients {
    /// The campaign.
    pub campaign_id: Uuid,
}

impl Job for CancelRecipients {
    const NAME: &'static str = "CancelRecipients";
    const LANE: Lane = Lane::Bulk;
}

/// Gives recipients of one state another turn.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RetryRecipients {
    /// The campaign.
    pub campaign_id: Uuid,
    /// `failed` or `unknown`.
    pub state: String,
}

impl Job for RetryRecipients {
    const NAME: &'static str = "RetryRecipients";
    const LANE: Lane = Lane::Bulk;
}

/// Sends the campaign's mail to a few addresses, to look at. Leaves no trace in the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SendTest {
    /// The campaign.
    pub campaign_id: Uuid,
    /// The addresses.
    pub to: Vec<String>,
}

impl Job for SendTest {
    const NAME: &'static str = "SendTest";
    const LANE: Lane = Lane::Critical;
}
