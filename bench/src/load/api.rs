//! How many requests a second the api answers, and how fast at a fixed rate.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use reqwest::multipart;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::{
    cpu,
    figures::{head, median, quantile, row},
    open_loop,
    peer::{self, Peer},
    place::Place,
    tool::{self, Wrk},
};
use crate::{
    client::{api::Api, contacts},
    demo::journey::float,
};

/// What to ask.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    peer: peer::Home,
    /// Connections of wrk.
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Seconds of a run.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Measured runs of each kind; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Requests a second of the fixed rate, half of them creating a list, half polling a job.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// The peer is not measured.
    #[arg(long)]
    no_peer: bool,
}

#[derive(Serialize)]
struct Figures {
    job: Closed,
    peer: Option<Closed>,
    fixed_rate: u32,
    create_list: Open,
    poll_job: Open,
}

#[derive(Serialize)]
struct Closed {
    median_requests_per_second: f64,
    median_p50_ms: f64,
    median_p99_ms: f64,
    /// Processor seconds per 1,000 requests, by process; of the last run.
    cpu_seconds_per_1000: BTreeMap<String, f64>,
    runs: Vec<Wrk>,
}

#[derive(Serialize)]
struct Open {
    median_p50_ms: f64,
    median_p99_ms: f64,
    failed: u64,
}

/// Measures and prints.
///
/// # Errors
/// The api does not answer, or wrk is missing.
pub async fn run(options: &Options) -> Result<()> {
    let place = &options.place;
    let api = Api::login(&place.login).await?;
    let conditions = place.conditions(
        "api",
        format!(
            "wrk with {} connections for {} s; limits counted in Redis, too high to be reached",
            options.clients, options.seconds
        ),
    );
    conditions.print();
    let list = api.new_list("One import").await?;
    let file = multipart::Part::bytes(contacts::wide_csv(1, 10)).file_name("contacts.csv").mime_str("text/csv")?;
    let job = api.import(list, file).await?.job_id;
    while !api.job(job).await?.is_over() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    head(&["what", "requests/s", "p50, ms", "p99, ms", "errors", "processor seconds per 1,000"]);
    let url = api.address(&format!("/jobs/{job}"));
    let ours =
        closed(options, "GET /jobs/{id}, with a token", &url, Some(api.token()), &place.groups(place.worker_pids.clone())).await?;
    let peer = if options.no_peer {
        None
    } else {
        let peer = Peer::start(&options.peer, place, 1).await?;
        let url = peer.job_address().await?;
        let measured = closed(options, "Express 5 + pg, one row by its key, no token", &url, None, peer.groups()).await?;
        peer.stop().await?;
        Some(measured)
    };

    println!("\nAt {} requests/s, from the moment each was due:\n", options.rate);
    head(&["what", "p50, ms", "p99, ms", "failed"]);
    let (create_list, poll_job) = fixed_rate(options, &api, job).await?;
    for (what, open) in [("POST /lists", &create_list), ("GET /jobs/{id}", &poll_job)] {
        row([what.to_owned(), format!("{:.2}", open.median_p50_ms), format!("{:.2}", open.median_p99_ms), open.failed.to_string()]);
    }
    conditions.write(place.json.as_ref(), &Figures { job: ours, peer, fixed_rate: options.rate, create_list, poll_job })
}

async fn closed(options: &Options, what: &str, url: &str, token: Option<&str>, groups: &[cpu::Group]) -> Result<Closed> {
    // Warm-up.
    tool::wrk(url, token, options.clients, options.seconds.div_ceil(5)).await?;
    let mut runs = Vec::new();
    let mut spent = BTreeMap::new();
    for _ in 0..options.runs {
        let before = cpu::seconds(groups);
        let wrk = tool::wrk(url, token, options.clients, options.seconds).await?;
        let thousands = wrk.requests_per_second * float(options.seconds) / 1000.0;
        spent = cpu::seconds(groups)
            .into_iter()
            .map(|(name, now)| (name.to_owned(), (now - before.get(name).unwrap_or(&0.0)) / thousands))
            .collect();
        let processes: Vec<_> = spent.iter().map(|(name, seconds)| format!("{name} {seconds:.3}")).collect();
        row([
            what.to_owned(),
            format!("{:.0}", wrk.requests_per_second),
            format!("{:.2}", wrk.p50_ms),
            format!("{:.2}", wrk.p99_ms),
            wrk.errors.to_string(),
            processes.join(", "),
        ]);
        runs.push(wrk);
    }
    Ok(Closed {
        median_requests_per_second: median(runs.iter().map(|run| run.requests_per_second)),
        median_p50_ms: median(runs.iter().map(|run| run.p50_ms)),
        median_p99_ms: median(runs.iter().map(|run| run.p99_ms)),
        cpu_seconds_per_1000: spent,
        runs,
    })
}

/// Lists and polls in turn; each run's quantiles, and of these the median.
async fn fixed_rate(options: &Options, api: &Api, job: Uuid) -> Result<(Open, Open)> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build()?;
    let (lists, poll) = (api.address("/lists"), api.address(&format!("/jobs/{job}")));
    let one = |creates: bool| {
        let request =
            if creates { http.post(&lists).json(&json!({"name": format!("List {}", Uuid::now_v7())})) } else { http.get(&poll) };
        let request = request.bearer_auth(api.token());
        async move {
            let response = request.send().await?.error_for_status()?;
            response.bytes().await.context("the answer broke off")?;
            anyhow::Ok(())
        }
    };
    let total = u32::try_from(options.seconds)? * options.rate / 2;
    let mut found: [(Vec<f64>, Vec<f64>, u64); 2] = Default::default();
    for number in 0..=options.runs {
        let (created, polled) = tokio::join!(
            open_loop::run(total, options.rate / 2, |_| one(true)),
            open_loop::run(total, options.rate / 2, |_| one(false))
        );
        for (measured, (latencies, failed)) in found.iter_mut().zip([created?, polled?]) {
            // The first is the warm-up.
            if number > 0 {
                measured.0.push(quantile(&latencies, 0.5));
                measured.1.push(quantile(&latencies, 0.99));
                measured.2 += failed;
            }
        }
    }
    let [created, polled] = found.map(|(p50, p99, failed)| Open { median_p50_ms: median(p50), median_p99_ms: median(p99), failed });
    Ok((created, polled))
}
