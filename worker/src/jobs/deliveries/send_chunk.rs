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
use uuid::Uuid;

use crate::{
    run::{Context, Failure, Outcome, Run},
    sending::{
        composer::Composer,
        turn::{Halt, RECIPIENTS_PER_WIRE, Turn},
        ways::Booking,
        wires::Wire,
    },
    stages::{self, Stage},
};

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
            let (wires, booking) = take_wires(context, standing.route_id, wanted, recipients.len()).await?;
            let wires = seated(context, &chunk, standing.workspace_id, wires).await?;
            let composer = Composer::new(chunk.campaign_id, &standing, &context.post).await.map_err(unusable)?;
            let turn = Turn::new(context, &chunk, &standing, composer, recipients);
            turn.run(wires).await;
            let postponed = turn.postponed();
            booking.went_but(turn.left() + postponed.len());
            if !postponed.is_empty() {
                let mut connection = context.pool.acquire().await.map_err(shared::error::Error::from)?;
                ledger::postpone(&mut connection, chunk.campaign_id, chunk.id, context.lease_epoch, &postponed).await?;
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

/// Of these wires those that may carry to the chunk's one destination. They keep that right until they are closed, so that all processes
/// together stay below its limit. In a mixed chunk each finds out as it goes.
async fn seated(context: &Context, chunk: &Chunk, workspace_id: Uuid, wires: Vec<Wire>) -> Result<Vec<Wire>, Failure> {
    let post = &context.post;
    let mut seated = Vec::with_capacity(wires.len());
    let mut full = false;
    for mut wire in wires {
        if chunk.destination.is_empty() {
            wire.leave_seats(None);
            seated.push(wire);
            continue;
        }
        let shaped = post.shaper.of(&wire.road, workspace_id, &chunk.destination);
        wire.leave_seats(Some(&shaped.shape));
        if !full && post.wires.seat(&mut wire, &shaped.shape).await.map_err(redis)? {
            seated.push(wire);
        } else {
            // An open connection may still go to somebody else.
            full = true;
            wire.leave_seats(None);
            post.wires.put_back(wire);
        }
    }
    if seated.is_empty() { Err(later(Duration::from_millis(500))) } else { Ok(seated) }
}

/// Wires of the best route that has any: the campaign's own, or one by weight among those that work. So many recipients are counted for it.
pub(crate) async fn take_wires(
    context: &Context,
    pinned: Option<Uuid>,
    wanted: usize,
    recipients: usize,
) -> Result<(Vec<Wire>, Booking<'_>), Failure> {
    let post = &context.post;
    let Some((roads, mut booking)) = post.ways.book(pinned, recipients) else {
        let (wait, why) = post.ways.closed(pinned);
        return Err(Failure::Yield(wait, Some(why)));
    };
    for road in roads {
        booking.turn_to(&road);
        let wires = post.wires.take(&road, wanted).await.map_err(redis)?;
        if !wires.is_empty() {
            return Ok((wires, booking));
        }
    }
    Err(later(Duration::from_millis(500)))
}
