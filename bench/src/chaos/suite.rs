//! All scenarios, one after the other, and the table.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use super::{
    fault::Fault,
    imports,
    lab::{Lab, Surroundings},
    rates, relays,
    scenario::{self, Stage},
    verdict::Verdict,
};
use crate::client::contacts;

/// Breaks parts in the middle of campaigns and checks what is left.
#[derive(Parser)]
pub struct Options {
    /// Names the scenarios.
    #[arg(long)]
    list: bool,
    /// Runs this one only; may be repeated.
    #[arg(long, value_name = "NAME", value_parser = known)]
    only: Vec<String>,
    /// Recipients of a campaign.
    #[arg(long, default_value_t = 20_000)]
    recipients: usize,
    /// How long an undisturbed campaign lasts: the sink delays its replies for it.
    #[arg(long, default_value_t = 40)]
    seconds: u64,
}

fn names() -> Vec<String> {
    Fault::value_variants()
        .iter()
        .map(|fault| fault.name())
        .chain([imports::NAME, relays::NAME, rates::NAME].map(str::to_owned))
        .collect()
}

fn known(name: &str) -> Result<String, String> {
    if names().iter().any(|known| known == name) {
        Ok(name.to_owned())
    } else {
        Err(format!("the scenarios are {}", names().join(", ")))
    }
}

/// Runs what was asked for; returns whether all of it passed.
///
/// # Errors
/// The recipients could not be loaded, or the report not be written.
pub async fn run(options: &Options) -> Result<bool> {
    if options.list {
        names().iter().for_each(|name| println!("{name}"));
        return Ok(true);
    }
    let surroundings = Surroundings::try_parse_from(["mochila-chaos"]).context("started by deploy/local chaos")?;
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let mut lab = Lab::new(surroundings.clone())?;
    println!("\nLoading {} recipients", options.recipients);
    let stage = prepare(&mut lab, options).await?;
    println!("The sink delays each reply by {} ms\n\n{}", stage.delay_ms, Verdict::heading());

    let mut verdicts = Vec::new();
    for fault in Fault::value_variants() {
        if wanted(&fault.name()) {
            tell(scenario::run(&mut lab, stage, *fault).await, &mut verdicts);
        }
    }
    if wanted(imports::NAME) {
        tell(imports::run(&mut lab).await, &mut verdicts);
    }
    if wanted(relays::NAME) {
        tell(relays::run(&mut lab, stage).await, &mut verdicts);
    }
    if wanted(rates::NAME) {
        tell(rates::run(&mut lab, stage).await, &mut verdicts);
    }

    let json = serde_json::to_string_pretty(&verdicts)?;
    std::fs::write(&surroundings.report, json).with_context(|| format!("failed to write {}", surroundings.report.display()))?;
    let passed = verdicts.iter().filter(|verdict| verdict.passed()).count();
    let failed = verdicts.len() - passed;
    println!("\nLogs: {}   Figures: {}\n", surroundings.logs.display(), surroundings.report.display());
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

async fn prepare(lab: &mut Lab, options: &Options) -> Result<Stage> {
    let api = lab.open("prepare").await?;
    let list = api
        .load_list("Everybody", contacts::csv(20, options.recipients, contacts::EVEN), Duration::from_secs(120))
        .await
        .context("failed to load the recipients")?;
    let connections = lab.surroundings.connections * u64::try_from(lab.workers())?;
    let route = api.route_to(&format!("smtp://{}", lab.surroundings.sink_smtp), connections.try_into()?).await?;
    lab.close().await?;
    // Each connection has recipients / connections messages to send, one reply after the other.
    let delay_ms = options.seconds * 1000 * connections / u64::try_from(options.recipients.max(1))?;
    Ok(Stage { list, route, delay_ms, length: Duration::from_secs(options.seconds) })
}

fn tell(verdict: Verdict, verdicts: &mut Vec<Verdict>) {
    println!("{}", verdict.row());
    for remark in &verdict.remarks {
        println!("    {remark}");
    }
    for problem in &verdict.problems {
        println!("  ✗ {problem}");
    }
    verdicts.push(verdict);
}
