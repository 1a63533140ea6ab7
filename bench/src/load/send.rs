//! How many messages a second one relay accepts, from `send` to the last outcome.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use uuid::Uuid;

use super::{
    cpu::{self, Group},
    machine::Machine,
};
use crate::{
    client::{
        api::{Api, Login},
        contacts,
        sink::Sink,
    },
    demo::{journey::float, screen::grouped, template},
};

/// What to send.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    login: Login,
    /// Recipients of a measured campaign.
    #[arg(long, default_value_t = 100_000)]
    recipients: usize,
    /// Measured campaigns.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Recipients of the campaign before them; 0: none.
    #[arg(long, default_value_t = 10_000)]
    warm_up: usize,
    /// Where the figures are written.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Connections of a worker process.
    #[arg(long, env = "MOCHILA_SENDING__CONNECTIONS", hide = true)]
    connections: usize,
    #[arg(long, env = "SINK_SMTP", hide = true)]
    sink_smtp: String,
    #[arg(long, env = "SINK_HTTP", hide = true)]
    sink_http: String,
    #[arg(long, env = "API_PID", hide = true)]
    api_pid: u32,
    #[arg(long, env = "WORKER_PIDS", value_delimiter = ' ', hide = true)]
    worker_pids: Vec<u32>,
    #[arg(long, env = "SINK_PID", hide = true)]
    sink_pid: u32,
    #[arg(long, env = "POSTGRES_PID", hide = true)]
    postgres_pid: u32,
    #[arg(long, env = "REDIS_PID", hide = true)]
    redis_pid: u32,
    #[arg(long, env = "BENCH_VERSIONS", default_value = "", hide = true)]
    versions: String,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    versions: String,
    recipients: usize,
    workers: usize,
    connections: usize,
    median_per_second: f64,
    runs: Vec<Run>,
}

#[derive(Clone, Serialize)]
struct Run {
    accepted: u64,
    seconds: f64,
    per_second: f64,
    not_accepted: u64,
    arrived: u64,
    duplicates: u64,
    /// Processor seconds per 1,000 accepted messages, by process.
    cpu_seconds_per_1000: BTreeMap<&'static str, f64>,
}

/// Measures and prints.
///
/// # Errors
/// A campaign did not finish, or a message was received twice.
pub async fn run(options: &Options) -> Result<()> {
    let api = Api::login(&options.login).await?;
    let sink = Sink::at(&options.sink_http)?;
    let connections = options.connections * options.worker_pids.len();
    let route = api.route_to(&format!("smtp://{}", options.sink_smtp), connections).await?;
    let machine = Machine::here();
    println!("\nmochila-bench send");
    println!(
        "  machine      {} ({} cores, {} GiB), kernel {}",
        machine.processor, machine.cores, machine.memory_gib, machine.kernel
    );
    println!("  versions     {}", options.versions);
    println!("  settings     {} workers, {connections} connections, one relay, no TLS", options.worker_pids.len());

    println!("\nLoading {} recipients", grouped(u64::try_from(options.recipients)?));
    let patience = Duration::from_secs(600);
    let everybody = contacts::csv(100, options.recipients, contacts::EVEN);
    let list = api.load_list("Everybody", everybody, patience).await?;
    if options.warm_up > 0 {
        let some = api.load_list("Warm-up", contacts::csv(100, options.warm_up, contacts::EVEN), patience).await?;
        measure(options, &api, &sink, some, route, "Warm-up").await?;
    }

    println!("\n  run   accepted    seconds   accepted/s      other   twice   processor seconds per 1,000");
    let mut runs = Vec::new();
    for number in 1..=options.runs {
        let run = measure(options, &api, &sink, list, route, &format!("Run {number}")).await?;
        let spent: Vec<_> = run.cpu_seconds_per_1000.iter().map(|(name, seconds)| format!("{name} {seconds:.3}")).collect();
        println!(
            "  {number:>3} {:>10} {:>10.2} {:>12.0} {:>10} {:>7}   {}",
            grouped(run.accepted),
            run.seconds,
            run.per_second,
            run.not_accepted,
            run.duplicates,
            spent.join(", ")
        );
        runs.push(run);
    }
    let mut rates: Vec<f64> = runs.iter().map(|run| run.per_second).collect();
    rates.sort_by(f64::total_cmp);
    let median = (rates[(rates.len() - 1) / 2] + rates[rates.len() / 2]) / 2.0;
    println!("\n  median of {}: {median:.0} accepted/s\n", rates.len());

    let twice: u64 = runs.iter().map(|run| run.duplicates).sum();
    let report = Report {
        machine,
        versions: options.versions.clone(),
        recipients: options.recipients,
        workers: options.worker_pids.len(),
        connections,
        median_per_second: median,
        runs,
    };
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)?)
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    if twice > 0 {
        bail!("{twice} messages were received twice");
    }
    Ok(())
}

async fn measure(options: &Options, api: &Api, sink: &Sink, list: Uuid, route: Uuid, name: &str) -> Result<Run> {
    let groups = [
        Group { name: "api", pids: vec![options.api_pid], with_children: false },
        Group { name: "workers", pids: options.worker_pids.clone(), with_children: false },
        Group { name: "postgres", pids: vec![options.postgres_pid], with_children: true },
        Group { name: "redis", pids: vec![options.redis_pid], with_children: false },
        Group { name: "sink", pids: vec![options.sink_pid], with_children: false },
    ];
    let campaign = api.new_campaign(&format!("{name} {}", Uuid::now_v7()), list, route, template::SUBJECT, template::HTML).await?;
    sink.reset().await?;
    let before = cpu::seconds(&groups);
    let begun = Instant::now();
    api.ask(campaign, "send").await?;
    // Asked rarely at first: the question itself costs the database something.
    let (progress, seconds) = loop {
        let progress = api.progress(campaign).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let audience = progress.audience.unwrap_or(u64::MAX);
        if progress.settled() >= audience {
            break (progress, seconds);
        }
        if seconds > 1800.0 {
            bail!("{name} is not finished after 30 minutes: {:?}", progress.counts());
        }
        let close = progress.settled() >= audience - audience / 5;
        tokio::time::sleep(Duration::from_millis(if close { 200 } else { 1000 })).await;
    };
    let after = cpu::seconds(&groups);
    let arrived = sink.stats().await?;
    let thousands = float(progress.accepted.max(1)) / 1000.0;
    let spent = after.iter().map(|(name, seconds)| (*name, (seconds - before.get(name).unwrap_or(&0.0)) / thousands)).collect();
    Ok(Run {
        accepted: progress.accepted,
        seconds,
        per_second: float(progress.accepted) / seconds,
        not_accepted: progress.settled() - progress.accepted,
        arrived: arrived.unique_message_ids,
        duplicates: arrived.duplicates,
        cpu_seconds_per_1000: spent,
    })
}
