//! The mails of one campaign: what is equal for all recipients is prepared once a chunk.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use shared::{
    campaigns::{
        message::{Labels, Mail, Skeleton},
        standing::Standing,
        template::{Prepared, Recipient},
    },
    error::Error,
    sending_domains::identity::Identity,
    vault::{Links, Origin},
};
use uuid::Uuid;

use super::Post;
use crate::stages::{self, Stage};

/// A mail and where its bounces go. Kept from one mail to the next, so that its buffers are made once.
#[derive(Default)]
pub struct Letter {
    /// The envelope's sender.
    pub from: String,
    /// What follows DATA.
    pub bytes: Vec<u8>,
    draft: Vec<u8>,
}

/// Templates, skeleton and identity of a campaign.
pub struct Composer {
    campaign_id: Uuid,
    from_email: String,
    prepared: Prepared,
    skeleton: Skeleton,
    identity: Arc<Identity>,
    links: Links,
}

impl Composer {
    /// Prepares them.
    ///
    /// # Errors
    /// The campaign was saved by a build with other rules and does not hold under these, or a key of its domain cannot be used.
    pub async fn new(campaign_id: Uuid, standing: &Standing, post: &Post) -> anyhow::Result<Self> {
        let Standing { workspace_id, list_ids, content, .. } = standing;
        let prepared = Prepared::new(content).map_err(Error::Invalid)?;
        let labels = Labels { campaign_id, workspace_id: *workspace_id, list_ids, sender_id: &post.sender_id };
        let skeleton = Skeleton::new(&labels, content).map_err(anyhow::Error::msg)?;
        let identity = post.identities.of(*workspace_id, &content.from_email).await?;
        let from_email = content.from_email.clone();
        Ok(Self { campaign_id, from_email, prepared, skeleton, identity, links: post.links.clone() })
    }

    /// Writes the whole mail for a recipient in place of what was in the letter.
    ///
    /// # Errors
    /// The template cannot be rendered for it.
    pub fn write(
        &self,
        letter: &mut Letter,
        contact_id: Uuid,
        recipient: &Recipient<'_>,
        date: DateTime<Utc>,
    ) -> Result<(), String> {
        let _timed = stages::enter(Stage::Render);
        let unsubscribe_url = &self.links.unsubscribe_url(self.campaign_id, contact_id);
        let rendered = self.prepared.render(recipient, unsubscribe_url)?;
        let host = self.identity.return_path_host.as_deref();
        let mailbox = host.map(|host| self.links.unsubscribe_mailbox(host, self.campaign_id, contact_id));
        let mail = Mail {
            contact_id,
            email: recipient.email,
            name: recipient.name,
            rendered: &rendered,
            unsubscribe_url,
            unsubscribe_mailbox: mailbox.as_deref(),
            date,
        };
        let Letter { from, bytes, draft } = letter;
        bytes.clear();
        match &self.identity.signer {
            Some(signer) => {
                draft.clear();
                self.skeleton.write(draft, &mail);
                let _timed = stages::enter(Stage::Sign);
                signer.sign(draft, bytes)?;
            }
            None => self.skeleton.write(bytes, &mail),
        }
        let origin = Origin::Delivery { campaign_id: self.campaign_id, contact_id };
        *from = host.map_or_else(|| self.from_email.clone(), |host| self.links.return_path(host, origin));
        Ok(())
    }
}
