//! The bell: keeps about twice as many tickets in each lane's queue as the fleet has slots, while there is work.

use std::time::Duration;

use shared::{
    PgPool,
    queue::{bell, fleet, lane::Lane, ticket::Tickets},
    settings::Settings,
};
use tokio_util::sync::CancellationToken;

/// Rings for these lanes until `over`. Two bells ring a little too often, which costs a claim that finds nothing.
pub async fn run(pool: PgPool, tickets: Tickets, settings: std::sync::Arc<Settings>, lanes: Vec<Lane>, over: CancellationToken) {
    let mut ticks = tokio::time::interval(Duration::from_millis(settings.queue.bell_ms));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = over.cancelled() => return,
        }
        if let Err(error) = bell::promote(&pool).await {
            tracing::warn!(%error, "could not look for jobs that are due");
            tokio::time::sleep(Duration::from_millis(500)).await;
            continue;
        }
        for lane in &lanes {
            if let Err(error) = once(&pool, &tickets, &settings, *lane).await {
                tracing::warn!(%error, %lane, "could not ring");
            }
        }
    }
}

/// Rings once for a lane. Answers how many tickets it pushed.
///
/// # Errors
/// PostgreSQL or Redis failed; the next look rings.
pub async fn once(pool: &PgPool, tickets: &Tickets, settings: &Settings, lane: Lane) -> anyhow::Result<usize> {
    let queue = &settings.queue;
    let slots = usize::try_from(fleet::slots(pool, lane, queue.heartbeat_seconds).await?)?;
    let most = (2 * slots).clamp(1, queue.max_tickets);
    let claimable = bell::claimable(pool, lane, settings.sending.destination_cap(lane), i64::try_from(most)?).await?;
    if claimable == 0 {
        return Ok(0);
    }
    let wanted = usize::try_from(claimable)?.saturating_sub(tickets.waiting(lane).await?);
    if wanted > 0 {
        tickets.ring(lane, wanted).await?;
    }
    Ok(wanted)
}
