//! One campaign, one fault, and what must hold afterwards.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::sleep;
use uuid::Uuid;

use super::{fault::Fault, lab::Lab, verdict::Verdict, watch::Watch};
use crate::{
    client::answers::Progress,
    demo::{journey::float, template},
};

/// Who is sent to, by which way, how slowly.
#[derive(Clone, Copy)]
pub struct Stage {
    /// The list with all recipients.
    pub list: Uuid,
    /// The route to the sink.
    pub route: Uuid,
    /// The sink's delay of each reply, in milliseconds.
    pub delay_ms: u64,
    /// How long an undisturbed campaign is meant to last.
    pub length: Duration,
}

/// Within this time of the fault's end more must have been accepted.
const RECOVERY: Duration = Duration::from_secs(60);
/// The fault strikes when this share of the audience is settled.
const STRIKES_AT: f64 = 0.3;

/// Runs it; whatever goes wrong is in the verdict.
pub async fn run(lab: &mut Lab, stage: Stage, fault: Fault) -> Verdict {
    let begun = Instant::now();
    let mut verdict = Verdict { name: fault.name(), ..Verdict::default() };
    if let Err(error) = play(lab, stage, fault, &mut verdict).await {
        verdict.problems.push(format!("{error:#}"));
    }
    if let Err(error) = lab.close().await {
        verdict.problems.push(format!("{error:#}"));
    }
    verdict.took(begun.elapsed());
    verdict
}

async fn play(lab: &mut Lab, stage: Stage, fault: Fault, verdict: &mut Verdict) -> Result<()> {
    let api = lab.open(&verdict.name).await?;
    lab.sink.delay(stage.delay_ms).await?;
    let name = format!("{} {}", verdict.name, Uuid::now_v7());
    let campaign = api.new_campaign(&name, stage.list, stage.route, template::SUBJECT, template::HTML).await?;
    let sent = Instant::now();
    let watch = Watch::over(api.clone(), campaign);
    if fault != Fault::ApiKilled {
        api.ask(campaign, "send").await?;
        let patience = stage.length + RECOVERY;
        watch.until(sent, patience, "under way", |progress| share(progress) >= STRIKES_AT).await?;
    }

    let struck = fault.strike(lab, &api, campaign, &watch).await?;
    verdict.unknown_bound = 4 * struck.dead_connections;
    verdict.problems.extend(struck.problems);
    verdict.remarks.extend(struck.remarks);

    let before = watch.last().accepted;
    let running =
        watch.until(struck.over, RECOVERY, "sending again", |progress| progress.accepted > before || progress.is_over()).await;
    match running {
        Ok(_) => verdict.recovery_seconds = Some(struck.over.elapsed().as_secs_f64()),
        Err(error) => verdict.problems.push(format!("{error:#}")),
    }
    if let Some((worker, until)) = struck.away {
        sleep(until.saturating_duration_since(Instant::now())).await;
        lab.start_worker(worker).await?;
    }

    // Twice the undisturbed length, and the leases of the dead.
    let patience = stage.length * 2 + RECOVERY;
    let finished = watch.until(struck.over, patience, "finished", Progress::is_over).await;
    let (samples, problems) = watch.end();
    verdict.samples = samples;
    verdict.problems.extend(problems);
    if let Err(error) = finished {
        verdict.problems.push(format!("{error:#}"));
    }
    // A message that is wrongly on the wire still would arrive after the end.
    sleep(Duration::from_millis(stage.delay_ms) + Duration::from_secs(2)).await;
    let mut progress = api.progress(campaign).await?;
    verdict.judge(&progress, &lab.sink.stats().await?);
    if !verdict.passed() {
        progress.destinations.clear();
        verdict.remarks.push(format!("at the end: {}", serde_json::to_string(&progress)?));
    }
    Ok(())
}

fn share(progress: &Progress) -> f64 {
    progress.audience.filter(|audience| *audience > 0).map_or(0.0, |audience| float(progress.settled()) / float(audience))
}
