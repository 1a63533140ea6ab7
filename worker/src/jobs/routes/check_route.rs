//! Opens a session with a relay, up to its answer to our credentials, and ends it.

use std::time::{Duration, Instant};

use serde_json::json;
use shared::routes::{health, payload::CheckRoute};

use crate::run::{Context, Failure, Outcome, Run};

impl Run for CheckRoute {
    async fn run(self, context: &Context) -> Outcome {
        // The route may be younger than the last look.
        context.post.guide.look().await?;
        let roads = context.post.guide.roads();
        let Some(road) = roads.iter().find(|road| road.id == self.route_id) else {
            return Err(Failure::Fail(anyhow::anyhow!("the route {} is disabled or cannot be used", self.route_id)));
        };
        let begun = Instant::now();
        let limit = Duration::from_secs_f64(context.settings.sending.breaker.probe_seconds);
        let checked = context.post.wires.check(road, limit).await;
        let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match checked {
            Ok(encrypted) => {
                health::close(&context.pool, road.id).await?;
                Ok(json!({ "reachable": true, "encrypted": encrypted, "milliseconds": milliseconds }))
            }
            Err(error) => {
                let seen = health::Seen { carried: false, failures: 1, error: Some(error.clone()) };
                health::note(&context.pool, road.id, &seen).await?;
                Ok(json!({ "reachable": false, "error": error, "milliseconds": milliseconds }))
            }
        }
    }
}
