//! How many messages a second one relay accepts, from `send` to the last outcome; beside it, in the same run, the peer.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use serde::Serialize;
use uuid::Uuid;

use super::{
    campaign::{Run, Shot},
    figures::{head, median, row},
    peer::{self, Peer},
    place::Place,
};
use crate::{
    client::{api::Api, contacts, sink::Sink},
    demo::{screen::grouped, template},
};

/// What to send.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    place: Place,
    /// Recipients of a measured campaign.
    #[arg(long, default_value_t = 100_000)]
    recipients: usize,
    /// Measured campaigns; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Recipients of the campaign before them.
    #[arg(long, default_value_t = 20_000)]
    warm_up: usize,
    #[command(flatten)]
    peer: peer::Home,
    /// Recipients of each of the peer's campaigns; 0: it is not measured.
    #[arg(long, default_value_t = 20_000)]
    peer_recipients: usize,
    /// Jobs that a worker process of the peer runs at once; each is measured.
    #[arg(long, value_delimiter = ',', default_value = "20,50")]
    peer_concurrency: Vec<usize>,
}

#[derive(Serialize)]
struct Figures {
    recipients: usize,
    workers: usize,
    connections: usize,
    median_per_second: f64,
    median_cpu_seconds_per_1000: BTreeMap<String, f64>,
    median_worker_cpu_seconds_per_1000: BTreeMap<String, f64>,
    runs: Vec<Run>,
    peer: Vec<PeerFigures>,
}

#[derive(Serialize)]
struct PeerFigures {
    concurrency: usize,
    median_per_second: f64,
    runs: Vec<peer::Run>,
}

/// Measures and prints.
///
/// # Errors
/// A campaign did not finish, or a message was received twice.
pub async fn run(options: &Options) -> Result<()> {
    let place = &options.place;
    let api = Api::login(&place.login).await?;
    let sink = Sink::at(&place.sink_http)?;
    let workers = place.worker_pids.clone();
    let connections = place.connections * workers.len();
    let settings = format!("{} workers, {connections} connections, one relay without TLS, HTML of 2 KB, 20 domains", workers.len());
    let conditions = place.conditions("send", settings);
    conditions.print();

    let route = api.route_to(&format!("smtp://{}", place.sink_smtp), connections).await?;
    let patience = Duration::from_secs(900);
    let list = api
        .load_list(&format!("Everybody {}", Uuid::now_v7()), contacts::csv(100, options.recipients, contacts::EVEN), patience)
        .await?;
    let some = api
        .load_list(&format!("Warm-up {}", Uuid::now_v7()), contacts::csv(100, options.warm_up.max(1), contacts::EVEN), patience)
        .await?;
    let shot = |list, recipients: usize| Shot {
        api: &api,
        sink: &sink,
        place,
        list,
        recipients: recipients as u64,
        route,
        workers: workers.clone(),
        html: template::HTML,
    };
    shot(some, options.warm_up.max(1)).take("Warm-up").await?;

    head(&["run", "accepted", "seconds", "accepted/s", "other", "twice"]);
    let mut runs = Vec::new();
    for number in 1..=options.runs {
        let run = shot(list, options.recipients).take(&format!("Run {number}")).await?;
        row([
            number.to_string(),
            grouped(run.accepted),
            format!("{:.2}", run.seconds),
            format!("{:.0}", run.per_second),
            grouped(run.not_accepted),
            run.duplicates.to_string(),
        ]);
        runs.push(run);
    }
    let mut figures = Figures {
        recipients: options.recipients,
        workers: workers.len(),
        connections,
        median_per_second: median(runs.iter().map(|run| run.per_second)),
        median_cpu_seconds_per_1000: medians(runs.iter().map(|run| &run.cpu_seconds_per_1000)),
        median_worker_cpu_seconds_per_1000: medians(runs.iter().map(|run| &run.worker_cpu_seconds_per_1000)),
        runs,
        peer: Vec::new(),
    };
    println!("\nMedian: {:.0} accepted/s. Processor seconds per 1,000 messages, medians:\n", figures.median_per_second);
    tell_stages(&figures);
    conditions.write(place.json.as_ref(), &figures)?;

    if options.peer_recipients > 0 {
        println!("\nThe peer (bench/peers/express-bull), {} recipients a run:\n", options.peer_recipients);
        head(&["concurrency of each of 2 processes", "run", "accepted", "seconds", "accepted/s", "processor seconds per 1,000"]);
        for concurrency in &options.peer_concurrency {
            let measured = measure_peer(options, &sink, *concurrency).await?;
            figures.peer.push(measured);
        }
        let best = figures.peer.iter().map(|peer| peer.median_per_second).fold(0.0, f64::max);
        println!("\nBest median of the peer: {best:.0} accepted/s; ours is {:.1} times that.", figures.median_per_second / best);
        conditions.write(place.json.as_ref(), &figures)?;
    }
    Ok(())
}

fn medians<'a>(runs: impl Iterator<Item = &'a BTreeMap<String, f64>>) -> BTreeMap<String, f64> {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, seconds) in runs.flatten() {
        all.entry(name.clone()).or_default().push(*seconds);
    }
    all.into_iter().map(|(name, seconds)| (name, median(seconds))).collect()
}

fn tell_stages(figures: &Figures) {
    let processes = &figures.median_cpu_seconds_per_1000;
    let stages = &figures.median_worker_cpu_seconds_per_1000;
    head(&["part", "seconds"]);
    for (stage, seconds) in stages {
        row([format!("worker: {stage}"), format!("{seconds:.4}")]);
    }
    let workers = processes.get("workers").copied().unwrap_or(0.0);
    if stages.is_empty() {
        row(["workers".to_owned(), format!("{workers:.4}")]);
    } else {
        row(["worker: the rest".to_owned(), format!("{:.4}", workers - stages.values().sum::<f64>())]);
    }
    for (name, seconds) in processes.iter().filter(|(name, _)| *name != "workers") {
        row([name.clone(), format!("{seconds:.4}")]);
    }
    row(["together".to_owned(), format!("{:.4}", processes.values().sum::<f64>())]);
}

async fn measure_peer(options: &Options, sink: &Sink, concurrency: usize) -> Result<PeerFigures> {
    let mut peer = Peer::start(&options.peer, &options.place, concurrency).await?;
    peer.fill(options.peer_recipients).await?;
    peer.send(sink, options.peer_recipients.div_ceil(10)).await?;
    let mut runs = Vec::new();
    for number in 1..=options.runs {
        let run = peer.send(sink, options.peer_recipients).await?;
        let spent: Vec<_> = run.cpu_seconds_per_1000.iter().map(|(name, seconds)| format!("{name} {seconds:.3}")).collect();
        row([
            concurrency.to_string(),
            number.to_string(),
            grouped(run.accepted),
            format!("{:.2}", run.seconds),
            format!("{:.0}", run.per_second),
            spent.join(", "),
        ]);
        runs.push(run);
    }
    peer.stop().await?;
    Ok(PeerFigures { concurrency, median_per_second: median(runs.iter().map(|run| run.per_second)), runs })
}
