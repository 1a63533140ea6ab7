//! A turn gets more wires than its chunk's share while nobody else of the process has a use for them, so that the last chunks of a
//! campaign do not go by a few wires beside many that stand idle. What was borrowed goes back as soon as somebody is short of wires.

use std::{convert::Infallible, time::Duration};

use tokio::{sync::mpsc::UnboundedSender, time::Instant};

use super::{turn::Turn, wires::Wire};

/// So long after its start a turn may first have more: others had the time to take theirs.
const AFTER: Duration = Duration::from_secs(1);
/// And then so often.
const EVERY: Duration = Duration::from_millis(500);

/// Borrows for the turn again and again.
pub async fn run(turn: &Turn<'_>, more: UnboundedSender<Wire>) -> Infallible {
    let mut ticks = tokio::time::interval_at(Instant::now() + AFTER, EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some((road, wanted)) = turn.wants() else { continue };
        match turn.post.wires.borrow(&road, wanted).await {
            Ok(wires) => wires.into_iter().for_each(|mut wire| {
                wire.leave_seats(None);
                // Nobody hears it when the turn has just ended; then it is closed.
                let _ = more.send(wire);
            }),
            // The turn goes on with those that it has.
            Err(error) => tracing::debug!(%error, "no more connections for this chunk"),
        }
    }
}
