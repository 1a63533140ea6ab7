//! Cancels whoever of a cancelled campaign had no attempt yet.

use serde_json::json;
use shared::campaigns::{cancel, payload::CancelRecipients};

use crate::run::{Context, Outcome, Run};

impl Run for CancelRecipients {
    async fn run(self, context: &Context) -> Outcome {
        cancel::stop_jobs(&context.pool, context.lease(), self.campaign_id).await?;
        let mut slices = 0;
        loop {
            let left = cancel::slice(&context.pool, context.lease(), self.campaign_id).await?;
            if left == 0 {
                return Ok(json!({}));
            }
            slices += 1;
            context.checkpoint(slices, None).await?;
        }
    }
}
