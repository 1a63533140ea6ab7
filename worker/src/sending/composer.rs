//! The mails of one campaign: what is equal for all recipients is prepared once a chunk.

use chrono::{DateTime, Utc};
use shared::{
    campaigns::{
        message::{Mail, Skeleton},
        template::{CampaignContent, Prepared, Recipient},
    },
    error::Error,
};
use uuid::Uuid;

/// Templates and skeleton of a campaign.
pub struct Composer {
    prepared: Prepared,
    skeleton: Skeleton,
}

impl Composer {
    /// Prepares them.
    ///
    /// # Errors
    /// The campaign was saved by a build with other rules, and does not hold under these.
    pub fn new(campaign_id: Uuid, content: &CampaignContent) -> anyhow::Result<Self> {
        let prepared = Prepared::new(content).map_err(Error::Invalid)?;
        let skeleton = Skeleton::new(campaign_id, content).map_err(anyhow::Error::msg)?;
        Ok(Self { prepared, skeleton })
    }

    /// Appends the whole mail for a recipient.
    ///
    /// # Errors
    /// The template cannot be rendered for it.
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        contact_id: Uuid,
        recipient: &Recipient<'_>,
        unsubscribe_url: &str,
        date: DateTime<Utc>,
    ) -> Result<(), String> {
        let rendered = self.prepared.render(recipient, unsubscribe_url)?;
        let mail = Mail { contact_id, email: recipient.email, name: recipient.name, rendered: &rendered, unsubscribe_url, date };
        self.skeleton.write(out, &mail);
        Ok(())
    }
}
