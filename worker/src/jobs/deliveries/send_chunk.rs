//! Sends a chunk: one turn of it, and another turn later if anybody is left.

use std::time::Duration;

use serde_json::json;
use shared::{
    campaigns::standing,
    deliveries::{
        chunk::{self, Chunk},
        doubt, ledger,
        payload::SendChunk,
    },
    routes::health,
};

use crate::{
    run::{Context, Failure, Outcome, Run},
    sending::{
        composer::Composer,
        turn::{Halt, Turn},
        wires::Wire,
    },
    stages::{self, Stage},
};

/// Recipients for which another connection is worth opening.
const RECIPIENTS_PER_WIRE: usize = 8;

impl Run for SendChunk {
    async fn run(self, context: &Context) -> Outcome {
        let chunk = stages::of(Stage::Claim, chunk::find(&context.pool, self.chunk_id)).await?;
        let total = i64::from(chunk.size);
        // The first run has none before it.
        let doubted = if context.lease_epoch > 1 {
            stages::of(Stage::Claim, doubt::earlier_runs(&context.pool, &chunk, context.lease())).await?
        } else {
            0
        };
        if doubted > 0 {
            tracing::warn!(campaign.id = %chunk.campaign_id, recipients = doubted, "in doubt: the process that sent them is gone");
        }
        if chunk.finished {
            return Ok(json!({ "recipients": total }));
        }
        let standing = stages::of(Stage::Claim, standing::find(&context.pool, chunk.campaign_id)).await?;
        match standing.state.as_str() {
            "sending" => {}
            "paused" => return Err(later(Duration::from_secs(1))),
            // The cancellation gives every recipient its row.
            _ => return Ok(json!({ "recipients": 0 })),
        }
        let recipients = {
            let mut connection = context.pool.acquire().await.map_err(shared::error::Error::from)?;
            stages::of(Stage::Claim, chunk::waiting(&mut connection, &chunk, context.lease_epoch)).await?
        };
        let halt = if recipients.is_empty() {
            None
        } else {
            let wanted = recipients.len().div_ceil(RECIPIENTS_PER_WIRE);
            let wanted = match limit(context, &chunk) {
                Some(limit) => wanted.min(limit),
                None => wanted,
            };
            // Held until the turn is over, so that all processes together stay below the destination's limit.
            let leases = match limit(context, &chunk) {
                Some(limit) => {
                    let name = format!("domain:{}", chunk.destination);
                    Some(context.post.wires.leases.take(&name, u32::try_from(limit).unwrap_or(1), wanted).await.map_err(redis)?)
                }
                None => None,
            };
            let wanted = leases.as_ref().map_or(wanted, |leases| leases.len().min(wanted));
            let wires = take_wires(context, standing.route_id, wanted).await?;
            if let Some(wire) = wires.first() {
                context.post.ways.count(&wire.road, recipients.len());
            }
            let composer = Composer::new(chunk.campaign_id, &standing, &context.post).await.map_err(unusable)?;
            let turn = Turn::new(context, &chunk, &standing, composer, recipients);
            turn.run(wires).await;
            let (postponed, wait) = turn.postponed();
            if !postponed.is_empty() {
                let until = context.clock.now() + wait;
                let mut connection = context.pool.acquire().await.map_err(shared::error::Error::from)?;
                ledger::postpone(&mut connection, chunk.campaign_id, chunk.id, context.lease_epoch, &postponed, until).await?;
            }
            turn.halted()
        };
        if chunk::finish(&context.pool, &chunk).await? {
            return Ok(json!({ "recipients": total }));
        }
        Err(match halt {
            Some(Halt::Stopped(stop)) => Failure::Stopped(stop),
            Some(Halt::Throttled(wait)) => later(wait.max(Duration::from_millis(500))),
            Some(Halt::Redis(error)) => Failure::Yield(Duration::from_secs(1), Some(format!("redis: {error}"))),
            Some(Halt::Route(error)) => Failure::Yield(Duration::from_secs(2), Some(format!("{}{error}", health::WAITS))),
            Some(Halt::TimeOver) => later(Duration::ZERO),
            Some(Halt::CampaignStopped | Halt::Refused) | None => later(Duration::from_millis(500)),
        })
    }
}

fn later(delay: Duration) -> Failure {
    Failure::Yield(delay, None)
}

/// The database may be back soon, and a key may be given back; a campaign that does not hold stays as it is.
pub(crate) fn unusable(error: anyhow::Error) -> Failure {
    match error.downcast_ref::<shared::error::Error>() {
        Some(shared::error::Error::Invalid(_)) | None => Failure::Fail(error),
        Some(_) => Failure::Retry(error),
    }
}

fn redis(error: redis::RedisError) -> Failure {
    Failure::Yield(Duration::from_secs(1), Some(format!("redis: {error}")))
}

/// Connections that the chunk's destination may have over all processes.
fn limit(context: &Context, chunk: &Chunk) -> Option<usize> {
    let destinations = context.post.guide.destinations();
    destinations.get(&chunk.destination).and_then(|d| d.max_connections).and_then(|limit| usize::try_from(limit).ok())
}

/// Wires of the best route that has any: the campaign's own, or one by weight among those that work.
pub(crate) async fn take_wires(context: &Context, pinned: Option<uuid::Uuid>, wanted: usize) -> Result<Vec<Wire>, Failure> {
    let post = &context.post;
    let roads = post.ways.open_to(pinned, &[]);
    if roads.is_empty() {
        let (wait, why) = post.ways.closed(pinned);
        return Err(Failure::Yield(wait, Some(why)));
    }
    for road in roads {
        let wires = post.wires.take(&road, wanted).await.map_err(redis)?;
        if !wires.is_empty() {
            return Ok(wires);
        }
    }
    Err(later(Duration::from_millis(500)))
}
