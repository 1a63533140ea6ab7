//! Freezes the audience of a campaign, slice by slice. Its first chunks are sent while it goes on.

use std::time::Duration;

use serde_json::json;
use shared::campaigns::{
    launch::{self, Launch},
    payload::LaunchCampaign,
};

use crate::run::{Context, Failure, Outcome, Run};

impl Run for LaunchCampaign {
    async fn run(self, context: &Context) -> Outcome {
        loop {
            match launch::slice(&context.pool, context.lease(), self.campaign_id, &context.settings.sending).await? {
                Launch::Counted(counted) => context.checkpoint(counted, None).await?,
                Launch::Frozen(audience) => return Ok(json!({ "audience": audience })),
                Launch::Paused => return Err(Failure::Yield(Duration::from_secs(1), None)),
                Launch::Over => return Ok(json!({ "audience": null })),
            }
        }
    }
}
