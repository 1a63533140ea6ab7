//! A launch: how soon the first mail of a large campaign goes out, how much memory a worker takes, and whether a recipient costs the same
//! in a small campaign and in a large one.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    campaign::{Run, Shot},
    figures::{head, median, row},
    place::Place,
};
use crate::{
    client::{api::Api, contacts, sink::Sink},
    demo::{screen::grouped, template},
};

/// What to launch.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    place: Place,
    /// Recipients of the small campaign.
    #[arg(long, default_value_t = 100_000)]
    small: usize,
    /// Recipients of the large campaign.
    #[arg(long, default_value_t = 1_000_000)]
    large: usize,
    /// Measured campaigns of each size; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Recipients of the campaign before them.
    #[arg(long, default_value_t = 20_000)]
    warm_up: usize,
    /// Only loads the lists and notes them in this file.
    #[arg(long, conflicts_with = "lists")]
    fill: Option<PathBuf>,
    /// The file that an earlier call noted the lists in; the workers then are fresh.
    #[arg(long)]
    lists: Option<PathBuf>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Lists {
    warm_up: Uuid,
    small: Uuid,
    large: Uuid,
}

#[derive(Serialize)]
struct Figures {
    small: Size,
    large: Size,
    /// Large over small, processor time of all processes a recipient.
    cpu_ratio: f64,
    /// Large over small, time a recipient.
    time_ratio: f64,
}

#[derive(Serialize)]
struct Size {
    recipients: usize,
    median_first_mail_seconds: f64,
    /// The most of all runs.
    peak_worker_mib: f64,
    median_per_second: f64,
    /// Of all processes but the sink.
    median_cpu_seconds_per_1000: f64,
    runs: Vec<Run>,
}

impl Size {
    fn of(recipients: usize, runs: Vec<Run>) -> Self {
        Self {
            recipients,
            median_first_mail_seconds: median(runs.iter().map(|run| run.first_mail_seconds)),
            peak_worker_mib: runs.iter().map(|run| run.peak_worker_mib).fold(0.0, f64::max),
            median_per_second: median(runs.iter().map(|run| run.per_second)),
            median_cpu_seconds_per_1000: median(runs.iter().map(ours)),
            runs,
        }
    }
}

/// Measures and prints.
///
/// # Errors
/// A campaign did not finish, or a message was received twice.
pub async fn run(options: &Options) -> Result<()> {
    let place = &options.place;
    let api = Api::login(&place.login).await?;
    if let Some(path) = &options.fill {
        let lists = fill(options, &api).await?;
        return std::fs::write(path, serde_json::to_vec(&lists)?).with_context(|| format!("failed to write {}", path.display()));
    }
    let lists: Lists = match &options.lists {
        Some(path) => {
            let text = std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
            serde_json::from_slice(&text)?
        }
        None => fill(options, &api).await?,
    };
    let connections = place.connections * place.worker_pids.len();
    let conditions = place
        .conditions("launch", format!("{} workers, {connections} connections, one relay without TLS", place.worker_pids.len()));
    conditions.print();
    let sink = Sink::at(&place.sink_http)?;
    let route = api.route_to(&format!("smtp://{}", place.sink_smtp), connections).await?;
    let shot = |list, recipients: usize| Shot {
        api: &api,
        sink: &sink,
        place,
        list,
        recipients: recipients as u64,
        route,
        workers: place.worker_pids.clone(),
        html: template::HTML,
    };
    shot(lists.warm_up, options.warm_up.max(1)).take("Warm-up").await?;

    head(&["recipients", "run", "first mail, s", "all, s", "accepted/s", "peak of a worker, MiB", "processor seconds per 1,000"]);
    // In turn, and compared with the one just before: what the machine gives changes within an hour.
    let mut runs = [Vec::new(), Vec::new()];
    for number in 1..=options.runs {
        for (size, (list, recipients)) in [(lists.small, options.small), (lists.large, options.large)].into_iter().enumerate() {
            let run = shot(list, recipients).take(&format!("Run {number}")).await?;
            row([
                grouped(run.accepted),
                number.to_string(),
                format!("{:.2}", run.first_mail_seconds),
                format!("{:.1}", run.seconds),
                format!("{:.0}", run.per_second),
                format!("{:.0}", run.peak_worker_mib),
                format!("{:.4}", ours(&run)),
            ]);
            runs[size].push(run);
        }
    }
    let [small, large] = runs;
    let ratio = |of: fn(&Run) -> f64| median(small.iter().zip(&large).map(|(small, large)| of(large) / of(small)));
    let figures = Figures {
        cpu_ratio: ratio(ours),
        time_ratio: 1.0 / ratio(|run| run.per_second),
        small: Size::of(options.small, small),
        large: Size::of(options.large, large),
    };
    println!(
        "\nA recipient of the large campaign costs {:.2} times the processor time and {:.2} times the time of one of the small. First mail \
         after {:.2} s, a worker's peak {:.0} MiB (medians, of the costs over the small one just before; the peak is the most).",
        figures.cpu_ratio, figures.time_ratio, figures.large.median_first_mail_seconds, figures.large.peak_worker_mib
    );
    conditions.write(place.json.as_ref(), &figures)
}

fn ours(run: &Run) -> f64 {
    run.cpu_seconds_per_1000.iter().filter(|(name, _)| *name != "sink").map(|(_, seconds)| seconds).sum()
}

async fn fill(options: &Options, api: &Api) -> Result<Lists> {
    let load = async |name: &str, batch: u64, count: usize| {
        println!("Loading {} recipients", grouped(u64::try_from(count)?));
        api.load_list(name, contacts::wide_csv(batch, count), Duration::from_secs(1800)).await
    };
    Ok(Lists {
        warm_up: load("Warm-up", 1, options.warm_up.max(1)).await?,
        small: load("Small", 2, options.small).await?,
        large: load("Large", 3, options.large).await?,
    })
}
