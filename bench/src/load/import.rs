//! How many rows a second an import loads: e-mail, name and three attributes, all of them new, into the indexed tables.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use reqwest::multipart;
use serde::Serialize;

use super::{
    cpu,
    figures::{head, median, row},
    memory,
    place::Place,
};
use crate::{
    client::{api::Api, contacts},
    demo::{journey::float, screen::grouped},
};

/// What to import.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    place: Place,
    /// Rows of a measured file.
    #[arg(long, default_value_t = 1_000_000)]
    rows: usize,
    /// Measured files; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Rows of the file before them.
    #[arg(long, default_value_t = 50_000)]
    warm_up: usize,
}

#[derive(Serialize)]
struct Figures {
    rows: usize,
    median_rows_per_second: f64,
    runs: Vec<Run>,
}

#[derive(Serialize)]
struct Run {
    rows: u64,
    megabytes: f64,
    /// Of the upload, until the 202.
    upload_seconds: f64,
    /// From the 202 until the job has succeeded.
    load_seconds: f64,
    rows_per_second: f64,
    peak_worker_mib: f64,
    /// Processor seconds per 1,000,000 rows while it was loaded, by process.
    cpu_seconds_per_million: BTreeMap<String, f64>,
}

/// Measures and prints.
///
/// # Errors
/// An import failed, or its report does not name every row as created.
pub async fn run(options: &Options) -> Result<()> {
    let place = &options.place;
    let api = Api::login(&place.login).await?;
    let conditions = place.conditions(
        "import",
        "one file at a time; columns email, name, city, plan, visits; each file's addresses are new".to_owned(),
    );
    conditions.print();
    if options.warm_up > 0 {
        measure(place, &api, 1, options.warm_up).await?;
    }
    head(&["run", "rows", "MB", "upload, s", "load, s", "rows/s", "peak of a worker, MiB", "processor seconds per 1,000,000 rows"]);
    let mut runs = Vec::new();
    for number in 1..=options.runs {
        let run = measure(place, &api, u64::from(number) + 1, options.rows).await?;
        let spent: Vec<_> = run.cpu_seconds_per_million.iter().map(|(name, seconds)| format!("{name} {seconds:.1}")).collect();
        row([
            number.to_string(),
            grouped(run.rows),
            format!("{:.0}", run.megabytes),
            format!("{:.2}", run.upload_seconds),
            format!("{:.2}", run.load_seconds),
            format!("{:.0}", run.rows_per_second),
            format!("{:.0}", run.peak_worker_mib),
            spent.join(", "),
        ]);
        runs.push(run);
    }
    let figures = Figures { rows: options.rows, median_rows_per_second: median(runs.iter().map(|run| run.rows_per_second)), runs };
    println!("\nMedian: {:.0} rows/s.", figures.median_rows_per_second);
    conditions.write(place.json.as_ref(), &figures)
}

async fn measure(place: &Place, api: &Api, batch: u64, count: usize) -> Result<Run> {
    let groups = place.groups(place.worker_pids.clone());
    let csv = contacts::wide_csv(batch, count);
    let megabytes = float(u64::try_from(csv.len())?) / 1e6;
    let list = api.new_list(&format!("Import {batch}")).await?;
    let file = multipart::Part::bytes(csv).file_name("contacts.csv").mime_str("text/csv")?;
    place.worker_pids.iter().copied().for_each(memory::forget_peak);
    let begun = Instant::now();
    let import = api.import(list, file).await?;
    let upload_seconds = begun.elapsed().as_secs_f64();
    let (before, begun) = (cpu::seconds(&groups), Instant::now());
    let report = loop {
        let job = api.job(import.job_id).await?;
        if job.state == "succeeded" {
            break job.result;
        }
        if job.is_over() || begun.elapsed().as_secs() > 1800 {
            bail!("the import of {count} rows is {}: {}", job.state, job.error);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let load_seconds = begun.elapsed().as_secs_f64();
    let after = cpu::seconds(&groups);
    let rows = report["created"].as_u64().unwrap_or(0);
    if rows != u64::try_from(count)? {
        bail!("the import of {count} rows reports {report}");
    }
    let millions = float(rows) / 1e6;
    Ok(Run {
        rows,
        megabytes,
        upload_seconds,
        load_seconds,
        rows_per_second: float(rows) / load_seconds,
        peak_worker_mib: place.worker_pids.iter().map(|pid| memory::peak_mib(*pid)).fold(0.0, f64::max),
        cpu_seconds_per_million: after
            .into_iter()
            .map(|(name, now)| (name.to_owned(), (now - before.get(name).unwrap_or(&0.0)) / millions))
            .collect(),
    })
}
