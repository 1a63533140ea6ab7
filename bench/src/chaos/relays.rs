//! One of two relays is killed in the middle of a campaign: it ends without the relay, and the next one goes over both again.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    arrivals,
    lab::{Lab, wait_for},
    scenario::Stage,
    verdict::Verdict,
    watch::Watch,
};
use crate::{
    client::{
        answers::Progress,
        api::Api,
        sink::{Sink, Stats},
    },
    demo::template,
};

/// As it is named on the command line.
pub const NAME: &str = "relay-killed";
const START: Duration = Duration::from_secs(30);

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
    let (smtp, http) = (free_address()?, free_address()?);
    let second = Sink::at(&format!("http://{http}"))?;
    let process = lab.start_sink("sink-2", &smtp, &http)?;
    wait_for(START, "the second sink", async || second.stats().await.is_ok()).await?;
    let connections = usize::try_from(lab.surroundings.connections)? * lab.workers();
    let route = api.route_to(&format!("smtp://{smtp}"), connections).await?;
    lab.sink.delay(stage.delay_ms).await?;
    second.delay(stage.delay_ms).await?;

    let campaign = send(&api, stage.list, "before").await?;
    let sent = Instant::now();
    let watch = Watch::over(api.clone(), campaign);
    let patience = stage.length * 2 + Duration::from_secs(60);
    let third = |progress: &Progress| progress.audience.is_some_and(|audience| progress.settled() * 10 > audience * 3);
    watch.until(sent, patience, "under way", third).await?;
    let before = second.stats().await?;
    if before.received == 0 {
        bail!("the second relay got nothing of a campaign that pins none");
    }
    process.kill().await?;
    let killed = Instant::now();
    verdict.unknown_bound = 4 * before.connections_open;
    let accepted = watch.last().accepted;
    watch
        .until(killed, Duration::from_secs(60), "sending again", |progress| progress.accepted > accepted || progress.is_over())
        .await?;
    verdict.recovery_seconds = Some(killed.elapsed().as_secs_f64());
    wait_for(Duration::from_secs(20), "an open breaker", async || state_of(&api, route).await.is_ok_and(|state| state != "closed"))
        .await?;
    watch.until(killed, patience, "finished without the relay", Progress::is_over).await?;
    verdict.remarks.push(format!("finished {:.1} s after the kill, with the relay still dead", killed.elapsed().as_secs_f64()));
    let (samples, problems) = watch.end();
    verdict.samples = samples;
    verdict.problems.extend(problems);
    let progress = api.progress(campaign).await?;
    let mut taken = arrivals::read(&lab.logs().join("sink.tsv"))?;
    taken.extend(arrivals::read(&lab.logs().join("sink-2.tsv"))?);
    let (unique, twice) = arrivals::distinct(&taken);
    let stats = Stats { received: taken.len() as u64, unique_message_ids: unique, duplicates: twice, ..Stats::default() };
    verdict.judge(&progress, &stats);

    // It comes back, and gets its share again.
    let process = lab.start_sink("sink-2", &smtp, &http)?;
    wait_for(START, "the second sink", async || second.stats().await.is_ok()).await?;
    let back = Instant::now();
    wait_for(Duration::from_secs(90), "a closed breaker", async || {
        state_of(&api, route).await.is_ok_and(|state| state == "closed")
    })
    .await?;
    verdict.remarks.push(format!("in use again {:.1} s after its restart", back.elapsed().as_secs_f64()));
    lab.sink.delay(0).await?;
    let campaign = send(&api, stage.list, "after").await?;
    let watch = Watch::over(api.clone(), campaign);
    let finished = watch.until(Instant::now(), patience, "finished", Progress::is_over).await?;
    let share = second.stats().await?.received;
    verdict.remarks.push(format!("the next campaign: {share} of {} over it", finished.accepted));
    if finished.unknown > 0 || finished.accepted != verdict.audience {
        verdict.problems.push(format!("the next campaign: {} accepted, {} unknown", finished.accepted, finished.unknown));
    }
    if share * 10 < finished.accepted * 3 {
        verdict.problems.push(format!("the relay that came back got {share} of {}", finished.accepted));
    }
    api.change(Method::PATCH, &format!("/routes/{route}"), &json!({"disabled": true})).await?;
    process.kill().await?;
    Ok(())
}

async fn send(api: &Api, list: Uuid, name: &str) -> Result<Uuid> {
    let name = format!("{NAME} {name} {}", Uuid::now_v7());
    let campaign = api.new_free_campaign(&name, list, template::SUBJECT, template::HTML).await?;
    api.ask(campaign, "send").await?;
    Ok(campaign)
}

async fn state_of(api: &Api, route: Uuid) -> Result<String> {
    let route: Value = api.get(&format!("/routes/{route}")).await?;
    Ok(route["health"]["state"].as_str().unwrap_or_default().to_owned())
}

fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
