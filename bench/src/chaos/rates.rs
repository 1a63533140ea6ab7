//! One rate for two, then four worker processes: what arrived in any minute, from the sink's log, with `FLUSHALL` twice on the way.

use std::time::{Duration, Instant};

use anyhow::Result;
use reqwest::Method;
use serde_json::json;
use tokio::time::sleep;
use uuid::Uuid;

use super::{
    arrivals::{self, Arrival},
    lab::{Lab, STOP},
    redis,
    scenario::Stage,
    verdict::Verdict,
    watch::Watch,
};
use crate::{client::answers::Progress, demo::template};

/// As it is named on the command line.
pub const NAME: &str = "rate-shared";
/// Messages a second over the route.
const RATE: u32 = 150;
/// Messages a second to one destination.
const SLOW: u32 = 5;
const SLOW_DOMAIN: &str = "north-1.test";
/// Seconds in which a limit is reached, if it is one: shorter than the turn of a chunk.
const BUSY: u32 = 4;
const WITH_TWO: Duration = Duration::from_secs(62);
const WITH_FOUR: Duration = Duration::from_secs(62);

/// Runs it; whatever goes wrong is in the verdict.
pub async fn run(lab: &mut Lab, stage: Stage) -> Verdict {
    let begun = Instant::now();
    let mut verdict = Verdict { name: NAME.to_owned(), ..Verdict::default() };
    if let Err(error) = play(lab, stage, &mut verdict).await {
        verdict.problems.push(format!("{error:#}"));
    }
    if let Err(error) = lab.close().await {
        verdict.problems.push(format!("{error:#}"));
    }
    verdict.took(begun.elapsed());
    verdict
}

async fn play(lab: &mut Lab, stage: Stage, verdict: &mut Verdict) -> Result<()> {
    let api = lab.open(NAME).await?;
    let path = format!("/routes/{}", stage.route);
    let slow = format!("/destinations/{SLOW_DOMAIN}/limits");
    api.change(Method::PATCH, &path, &json!({"rate_per_second": RATE})).await?;
    api.change(Method::PUT, &slow, &json!({"rate_per_second": SLOW, "max_connections": null})).await?;
    // The workers look once a second.
    sleep(Duration::from_secs(2)).await;
    let name = format!("{NAME} {}", Uuid::now_v7());
    let campaign = api.new_campaign(&name, stage.list, stage.route, template::SUBJECT, template::HTML).await?;
    api.ask(campaign, "send").await?;
    let watch = Watch::over(api.clone(), campaign);
    watch.until(Instant::now(), Duration::from_secs(30), "under way", |progress| progress.accepted > 0).await?;
    let begun = Instant::now();
    sleep(WITH_TWO / 2).await;
    redis::say(&lab.surroundings.redis_url, "FLUSHALL").await?;
    sleep(WITH_TWO.saturating_sub(begun.elapsed())).await;
    let extra = [lab.start_extra_worker("worker-3")?, lab.start_extra_worker("worker-4")?];
    sleep(WITH_FOUR / 2).await;
    redis::say(&lab.surroundings.redis_url, "FLUSHALL").await?;
    sleep((WITH_TWO + WITH_FOUR).saturating_sub(begun.elapsed())).await;
    let (samples, problems) = watch.end();
    verdict.samples = samples;
    verdict.problems.extend(problems);
    api.ask(campaign, "cancel").await?;
    for process in extra {
        process.terminate(STOP).await?;
    }
    let quiet = Watch::over(api.clone(), campaign);
    let settled = |progress: &Progress| progress.audience.is_some_and(|audience| progress.settled() == audience);
    quiet.until(Instant::now(), Duration::from_secs(60), "settled", settled).await?;
    api.change(Method::PATCH, &path, &json!({"rate_per_second": null})).await?;
    api.change(Method::PUT, &slow, &json!({"rate_per_second": null, "max_connections": null})).await?;

    let progress = api.progress(campaign).await?;
    let taken = arrivals::read(&lab.logs().join("sink.tsv"))?;
    let (unique, twice) = arrivals::distinct(&taken);
    verdict.audience = progress.audience.unwrap_or(0);
    (verdict.accepted, verdict.arrived, verdict.duplicates, verdict.unknown) = (progress.accepted, unique, twice, progress.unknown);
    verdict.lost = progress.accepted.saturating_sub(unique);
    for (what, count) in [("lost", verdict.lost), ("received twice", twice), ("unknown", progress.unknown)] {
        if count > 0 {
            verdict.problems.push(format!("{count} {what}"));
        }
    }
    let slow: Vec<Arrival> = taken.iter().filter(|arrival| arrival.domain == SLOW_DOMAIN).cloned().collect();
    // Any minute has the two workers, or the four, or both.
    hold("the route", RATE, 4, &taken, verdict);
    keep_busy("the route", RATE, &taken, verdict);
    hold(SLOW_DOMAIN, SLOW, 4, &slow, verdict);
    Ok(())
}

/// In any minute no more than the rate and the burst: a fifth of a second in the bucket, a tenth in the hands of each process, one
/// message each at least. And the limit is what held it back: in the busiest [`BUSY`] the rate is used. Not in every moment: a chunk of one
/// destination gives its slot back every few seconds and waits its turn among the campaign's other chunks.
fn hold(what: &str, rate: u32, processes: u32, taken: &[Arrival], verdict: &mut Verdict) {
    let mut times: Vec<u64> = taken.iter().map(|arrival| arrival.at).collect();
    if times.is_empty() {
        return verdict.problems.push(format!("nothing arrived over {what}"));
    }
    let most = arrivals::most_within(60_000, &mut times);
    let burst = (rate / 5).max(1) + processes * (rate / 10).max(1);
    let bound = rate * 60 + burst;
    let busiest = arrivals::most_within(u64::from(BUSY) * 1000, &mut times);
    let used = f64::from(u32::try_from(busiest).unwrap_or(u32::MAX)) / f64::from(rate * BUSY);
    verdict.remarks.push(format!(
        "{what}: at most {most} in a minute, {bound} may be; {:.1} % of its rate in the busiest {BUSY} s",
        used * 100.0
    ));
    if most > bound as usize {
        verdict.problems.push(format!("{what}: {most} in a minute, at most {bound} may be"));
    }
    if used < 0.9 {
        verdict.problems.push(format!("{what}: never reached its limit: {:.1} % of it in the busiest {BUSY} s", used * 100.0));
    }
}

/// Whatever chunk has its turn goes over the route: its rate is used from the first message to the last.
fn keep_busy(what: &str, rate: u32, taken: &[Arrival], verdict: &mut Verdict) {
    let times = || taken.iter().map(|arrival| arrival.at);
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return };
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of minutes, and thousands of messages")]
    let used = taken.len() as f64 * 1000.0 / ((last - first).max(1) as f64 * f64::from(rate));
    verdict.remarks.push(format!("{what}: {:.1} % of its rate used", used * 100.0));
    if used < 0.9 {
        verdict.problems.push(format!("{what}: only {:.1} % of its rate was used", used * 100.0));
    }
}
