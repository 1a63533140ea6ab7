//! Everything periodic, one line each. Every worker process runs all of it; rows are locked with SKIP LOCKED, so there is no leader.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use shared::{
    PgPool, campaigns, database, deliveries,
    operations::sending::{self, Hold},
    queue::{fleet, lease, prune, ticket::Tickets},
    settings::Settings,
    store::Store,
};
use tokio_util::sync::CancellationToken;

/// What periodic work may use.
#[derive(Clone)]
pub struct Tools {
    /// PostgreSQL.
    pub pool: PgPool,
    /// All settings.
    pub settings: Arc<Settings>,
    /// Redis' tickets.
    pub tickets: Tickets,
    /// Uploaded files.
    pub store: Store,
    /// Business time.
    pub clock: shared::clock::Clock,
}

type Work = fn(Tools) -> BoxFuture<'static, anyhow::Result<()>>;

macro_rules! every {
    ($($seconds:literal s $name:ident)*) => {
        [$((Duration::from_millis(($seconds * 1000.0) as u64), stringify!($name), (|tools| $name(tools).boxed()) as Work)),*]
    };
}

/// Runs all of it until `over`. A run that fails is logged, and comes round again.
pub async fn run(tools: Tools, over: CancellationToken) {
    let lines: [(Duration, &str, Work); 25] = every! {
        2.0 s reconcile_leases
        1.0 s launch_scheduled_campaigns
        1.0 s sweep_deferred
        2.0 s settle_orphaned_chunks
        0.5 s finish_campaigns
        30.0 s settle_cancelled_campaigns
        10.0 s reap_tickets
        5.0 s settle_imports
        5.0 s settle_orphaned_messages
        600.0 s sweep_uploads
        60.0 s verify_sending_domains
        3600.0 s make_partitions
        3600.0 s prune_jobs
        3600.0 s prune_accounts
        3600.0 s prune_idempotency_keys
        3600.0 s prune_attempts
        3600.0 s prune_shaping
        600.0 s prune_deliveries
        600.0 s prune_messages
        3600.0 s prune_uploads
        3600.0 s forget_workers
        1.0 s take_refusals
        10.0 s watch_complaints
        3600.0 s prune_suppressions
        3600.0 s prune_notices
    };
    let loops = lines.map(|(every, name, work)| {
        let (tools, over) = (tools.clone(), over.clone());
        async move {
            let mut ticks = tokio::time::interval(every);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = over.cancelled() => return,
                }
                let begun = std::time::Instant::now();
                if let Err(error) = work(tools.clone()).await {
                    tracing::warn!(error = format!("{error:#}"), name, "periodic work failed");
                }
                metrics::histogram!("schedule_seconds", "name" => name).record(begun.elapsed().as_secs_f64());
            }
        }
    });
    futures::future::join_all(loops).await;
}

async fn reconcile_leases(tools: Tools) -> anyhow::Result<()> {
    let reconciled = lease::reconcile(&tools.pool, tools.settings.queue.lease_seconds).await?;
    let lost = reconciled.requeued + reconciled.poisoned;
    if lost > 0 {
        metrics::counter!("lease_expired_total").increment(lost);
        tracing::warn!(requeued = reconciled.requeued, poisoned = reconciled.poisoned, "took jobs from workers that are gone");
    }
    Ok(())
}

/// A copy that nobody has confirmed starts no campaign and lets nobody's time run out: whoever confirms it finds it as it was.
async fn is_copy(tools: &Tools) -> anyhow::Result<bool> {
    Ok(sending::hold(&tools.pool).await? == Some(Hold::Restored))
}

async fn sweep_deferred(tools: Tools) -> anyhow::Result<()> {
    if is_copy(&tools).await? {
        return Ok(());
    }
    let swept = deliveries::sweep::deferred(&tools.pool, &tools.settings.sending).await?;
    if swept != deliveries::sweep::Swept::default() {
        tracing::debug!(due = swept.due, expired = swept.expired, cancelled = swept.cancelled, "deferred recipients came round");
    }
    Ok(())
}

async fn settle_orphaned_chunks(tools: Tools) -> anyhow::Result<()> {
    let settled = deliveries::chunk::settle_orphans(&tools.pool).await?;
    if settled > 0 {
        tracing::error!(chunks = settled, "settled chunks whose jobs are over; their recipients are failed, reason internal");
    }
    Ok(())
}

async fn settle_orphaned_messages(tools: Tools) -> anyhow::Result<()> {
    let settled = shared::messages::carry::settle_orphans(&tools.pool).await?;
    if settled > 0 {
        tracing::warn!(messages = settled, "settled messages whose jobs are over");
    }
    Ok(())
}

async fn finish_campaigns(tools: Tools) -> anyhow::Result<()> {
    for id in campaigns::finish::all(&tools.pool, tools.settings.queue.lease_seconds).await? {
        tracing::info!(campaign.id = %id, "a campaign is finished");
    }
    Ok(())
}

async fn settle_cancelled_campaigns(tools: Tools) -> anyhow::Result<()> {
    campaigns::finish::settle_cancelled(&tools.pool, tools.settings.queue.lease_seconds).await?;
    Ok(())
}

async fn reap_tickets(tools: Tools) -> anyhow::Result<()> {
    for lane in shared::queue::lane::Lane::ALL {
        tools.tickets.reap(lane).await?;
    }
    Ok(())
}

async fn verify_sending_domains(tools: Tools) -> anyhow::Result<()> {
    let mut transaction = database::begin(&tools.pool).await?;
    shared::sending_domains::due::enqueue(&mut transaction, tools.clock.now()).await?;
    transaction.commit().await?;
    Ok(())
}

async fn make_partitions(tools: Tools) -> anyhow::Result<()> {
    deliveries::partition::ensure(&tools.pool).await?;
    Ok(())
}

/// The moment before which rows are too old; `None`: they are kept for good.
fn before(tools: &Tools, days: u32) -> Option<chrono::DateTime<chrono::Utc>> {
    (days > 0).then(|| tools.clock.now() - chrono::TimeDelta::days(i64::from(days)))
}

async fn prune_jobs(tools: Tools) -> anyhow::Result<()> {
    let Some(before) = before(&tools, tools.settings.retention.jobs_days) else { return Ok(()) };
    pruned("jobs", prune::finished(&tools.pool, before).await?);
    Ok(())
}

async fn prune_idempotency_keys(tools: Tools) -> anyhow::Result<()> {
    shared::idempotency::keyed::prune(&tools.pool, tools.clock.now()).await?;
    Ok(())
}

async fn prune_attempts(tools: Tools) -> anyhow::Result<()> {
    let Some(before) = before(&tools, tools.settings.retention.attempts_days) else { return Ok(()) };
    pruned("attempts", prune::attempts(&tools.pool, before).await?);
    Ok(())
}

/// Counts of days that are over, replies that no rule counts any more, domains that nobody writes to.
async fn prune_shaping(tools: Tools) -> anyhow::Result<()> {
    deliveries::quota::prune(&tools.pool, tools.clock.now() - chrono::TimeDelta::days(2)).await?;
    deliveries::hits::prune(&tools.pool).await?;
    deliveries::mail_hosts::prune(&tools.pool).await?;
    Ok(())
}

async fn prune_deliveries(tools: Tools) -> anyhow::Result<()> {
    let Some(before) = before(&tools, tools.settings.retention.deliveries_days) else { return Ok(()) };
    pruned("deliveries", deliveries::retention::remove(&tools.pool, before).await?);
    Ok(())
}

async fn prune_messages(tools: Tools) -> anyhow::Result<()> {
    let Some(before) = before(&tools, tools.settings.retention.messages_days) else { return Ok(()) };
    pruned("messages", shared::messages::prune::before(&tools.pool, before).await?);
    Ok(())
}

async fn prune_uploads(tools: Tools) -> anyhow::Result<()> {
    let Some(before) = before(&tools, tools.settings.retention.uploads_days) else { return Ok(()) };
    pruned("uploads", shared::imports::sweep::files(&tools.pool, &tools.store, before).await?);
    pruned("orphaned objects", shared::imports::sweep::orphans(&tools.pool, &tools.store, "imports", before).await?);
    Ok(())
}

fn pruned(what: &'static str, rows: u64) {
    if rows > 0 {
        tracing::info!(what, rows, "pruned what is older than the settings keep it");
    }
}

async fn forget_workers(tools: Tools) -> anyhow::Result<()> {
    fleet::forget(&tools.pool).await?;
    Ok(())
}

async fn launch_scheduled_campaigns(tools: Tools) -> anyhow::Result<()> {
    if is_copy(&tools).await? {
        return Ok(());
    }
    let mut transaction = database::begin(&tools.pool).await?;
    let launched = campaigns::transitions::launch_due(&mut transaction, tools.clock.now()).await?;
    transaction.commit().await?;
    for id in launched {
        tracing::info!(campaign.id = %id, "a scheduled campaign is launched");
    }
    Ok(())
}

async fn settle_imports(tools: Tools) -> anyhow::Result<()> {
    shared::imports::sweep::settle(&tools.pool).await?;
    Ok(())
}

async fn sweep_uploads(tools: Tools) -> anyhow::Result<()> {
    shared::imports::sweep::unfinished(&tools.pool, &tools.store, Duration::from_secs(86_400)).await?;
    Ok(())
}

async fn prune_accounts(tools: Tools) -> anyhow::Result<()> {
    shared::members::prune::expired(&tools.pool, tools.clock.now()).await?;
    Ok(())
}

async fn take_refusals(tools: Tools) -> anyhow::Result<()> {
    shared::feedback::refusals::take(&tools.pool).await?;
    Ok(())
}

async fn watch_complaints(tools: Tools) -> anyhow::Result<()> {
    for judged in shared::feedback::complaints::watch(&tools.pool).await? {
        let (id, percent) = (judged.campaign_id, judged.percent);
        metrics::histogram!("complaint_share_percent").record(percent);
        if judged.warned {
            metrics::counter!("campaign_complaint_warnings_total").increment(1);
            tracing::warn!(campaign.id = %id, percent, "more recipients of a campaign complain than its workspace's policy warns at");
        }
        if judged.paused {
            metrics::counter!("campaign_complaint_pauses_total").increment(1);
            tracing::warn!(campaign.id = %id, percent, "a campaign is paused because too many of its recipients complain");
        }
    }
    Ok(())
}

async fn prune_suppressions(tools: Tools) -> anyhow::Result<()> {
    pruned("suppressions that have expired", shared::suppressions::suppression::prune(&tools.pool).await?);
    Ok(())
}

async fn prune_notices(tools: Tools) -> anyhow::Result<()> {
    let Some(before) = before(&tools, tools.settings.retention.notices_days) else { return Ok(()) };
    pruned("mails that came back", shared::feedback::mail::prune(&tools.pool, before).await?);
    pruned("posts that told of what came back", shared::feedback::post::prune(&tools.pool, before).await?);
    Ok(())
}
