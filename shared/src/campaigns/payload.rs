//! Jobs of this domain.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::queue::{lane::Lane, payload::Job};

/// Freezes the audience into chunks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LaunchCampaign {
    /// The campaign.
    pub campaign_id: Uuid,
}

impl Job for LaunchCampaign {
    const NAME: &'static str = "LaunchCampaign";
    const LANE: Lane = Lane::Bulk;
}

/// Cancels whoever has not been written to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CancelRecipients {
    /// The campaign.
    pub campaign_id: Uuid,
}

impl Job for CancelRecipients {
    const NAME: &'static str = "CancelRecipients";
    const LANE: Lane = Lane::Bulk;
}

/// Brings recipients of one state round again.
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

/// Sends the campaign as it is now to a few addresses, outside of its ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SendTest {
    /// The campaign.
    pub campaign_id: Uuid,
    /// One to five addresses, as parsed.
    pub to: Vec<String>,
}

impl Job for SendTest {
    const NAME: &'static str = "SendTest";
    const LANE: Lane = Lane::Critical;
}
