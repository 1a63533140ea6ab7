//! Whether more worker processes send more: a sink that answers late bounds each by its connections, and the machine bounds none.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tokio::process::{Child, Command};

use super::{
    campaign::{Run, Shot},
    figures::{head, median, row},
    place::Place,
};
use crate::{
    client::{api::Api, contacts, sink::Sink},
    demo::{journey::float, template},
};

/// Connections of a route that campaigns leave to messages (`sending.transactional.reserved`): beyond those that the workers open.
const RESERVED: usize = 4;

/// What to start.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    place: Place,
    /// The worker.
    #[arg(long, env = "WORKER_PROGRAM", hide = true)]
    program: PathBuf,
    /// How long the sink takes to answer a message, in milliseconds.
    #[arg(long, default_value_t = 100)]
    delay_ms: u64,
    /// Seconds that a campaign would last if nothing but the delay cost time.
    #[arg(long, default_value_t = 40)]
    seconds: u64,
    /// Measured campaigns of each number of processes; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Numbers of worker processes.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4")]
    workers: Vec<usize>,
}

#[derive(Serialize)]
struct Figures {
    delay_ms: u64,
    connections_of_each: usize,
    by_workers: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    workers: usize,
    /// What the delay allows: connections ÷ delay.
    ceiling_per_second: f64,
    median_per_second: f64,
    times_of_the_first: f64,
    runs: Vec<Run>,
}

/// Measures and prints.
///
/// # Errors
/// A worker could not be started, or a campaign did not finish.
pub async fn run(options: &Options) -> Result<()> {
    let place = &options.place;
    let api = Api::login(&place.login).await?;
    let sink = Sink::at(&place.sink_http)?;
    let most = options.workers.iter().copied().max().context("no number of workers is given")?;
    let route = api.route_to(&format!("smtp://{}", place.sink_smtp), place.connections * most + RESERVED).await?;
    let conditions = place.conditions(
        "scale-out",
        format!("{} connections of each process, the sink answers a message after {} ms", place.connections, options.delay_ms),
    );
    conditions.print();
    head(&["workers", "run", "recipients", "seconds", "accepted/s", "the delay allows"]);
    let mut steps: Vec<Step> = Vec::new();
    for (index, count) in options.workers.iter().copied().enumerate() {
        let workers = Workers::start(options, count)?;
        let ceiling = float(u64::try_from(place.connections * count)?) * 1000.0 / float(options.delay_ms.max(1));
        let recipients =
            place.connections * count * 1000 * usize::try_from(options.seconds)? / usize::try_from(options.delay_ms.max(1))?;
        sink.delay(0).await?;
        let csv = contacts::wide_csv(u64::try_from(index)? + 1, recipients);
        let list = api.load_list(&format!("{count} workers"), csv, Duration::from_secs(600)).await?;
        let shot = Shot {
            api: &api,
            sink: &sink,
            place,
            list,
            recipients: recipients as u64,
            route,
            workers: workers.ids(),
            html: template::HTML,
        };
        shot.take("Warm-up").await?;
        sink.delay(options.delay_ms).await?;
        let mut runs = Vec::new();
        for number in 1..=options.runs {
            let run = shot.take(&format!("Run {number}")).await?;
            row([
                count.to_string(),
                number.to_string(),
                recipients.to_string(),
                format!("{:.2}", run.seconds),
                format!("{:.0}", run.per_second),
                format!("{ceiling:.0}"),
            ]);
            runs.push(run);
        }
        workers.stop().await?;
        let rate = median(runs.iter().map(|run| run.per_second));
        let first = steps.first().map_or(rate, |step| step.median_per_second);
        steps.push(Step {
            workers: count,
            ceiling_per_second: ceiling,
            median_per_second: rate,
            times_of_the_first: rate / first,
            runs,
        });
    }
    println!();
    for step in &steps {
        println!("{} workers: {:.0} accepted/s, × {:.2}", step.workers, step.median_per_second, step.times_of_the_first);
    }
    let figures = Figures { delay_ms: options.delay_ms, connections_of_each: place.connections, by_workers: steps };
    conditions.write(place.json.as_ref(), &figures)
}

/// Worker processes that are ours alone.
struct Workers(Vec<Child>);

impl Workers {
    fn start(options: &Options, count: usize) -> Result<Self> {
        (0..count)
            .map(|_| {
                Command::new(&options.program)
                    .env("MOCHILA_WORKER__METRICS_LISTEN", "127.0.0.1:0")
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .kill_on_drop(true)
                    .spawn()
                    .with_context(|| format!("failed to start {}", options.program.display()))
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    fn ids(&self) -> Vec<u32> {
        self.0.iter().filter_map(Child::id).collect()
    }

    async fn stop(mut self) -> Result<()> {
        for id in self.ids() {
            let pid = Pid::from_raw(i32::try_from(id)?).context("a pid is positive")?;
            kill_process(pid, Signal::TERM)?;
        }
        for child in &mut self.0 {
            let status = tokio::time::timeout(Duration::from_secs(40), child.wait()).await.context("a worker did not stop")??;
            if !status.success() {
                bail!("a worker ended with {status}");
            }
        }
        Ok(())
    }
}
