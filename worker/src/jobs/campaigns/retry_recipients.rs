//! Gives the failed, or those in doubt, another turn, because a person asked for it.

use serde_json::json;
use shared::{campaigns::payload::RetryRecipients, deliveries::retry};

use crate::run::{Context, Outcome, Run};

impl Run for RetryRecipients {
    async fn run(self, context: &Context) -> Outcome {
        let reopened = retry::reopen(&context.pool, context.lease(), self.campaign_id, &self.state).await?;
        Ok(json!({ "recipients": reopened }))
    }
}
