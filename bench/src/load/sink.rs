//! What the sink takes at most: postfix's `smtp-source` against it, and against postfix's own `smtp-sink`.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use serde::Serialize;

use super::{
    figures::{head, median, row},
    place::Place,
    tool,
};
use crate::client::sink::Sink;

/// What to send.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    place: Place,
    /// Where Debian's postfix package is unpacked.
    #[arg(long, env = "POSTFIX", hide = true)]
    postfix: PathBuf,
    /// Messages of a run.
    #[arg(long, default_value_t = 200_000)]
    messages: usize,
    /// Connections.
    #[arg(long, default_value_t = 32)]
    sessions: usize,
    /// Measured runs; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

#[derive(Serialize)]
struct Figures {
    ours_per_second: f64,
    postfix_per_second: f64,
    ours: Vec<f64>,
    postfix: Vec<f64>,
}

/// Measures and prints.
///
/// # Errors
/// postfix's programs are missing, or not every message arrived.
pub async fn run(options: &Options) -> Result<()> {
    let place = &options.place;
    let conditions = place.conditions(
        "sink",
        format!("smtp-source, {} kept connections, 2 KB a message, {} messages a run", options.sessions, options.messages),
    );
    conditions.print();
    let sink = Sink::at(&place.sink_http)?;
    head(&["sink", "run", "messages/s"]);

    tool::smtp_source(&options.postfix, &place.sink_smtp, options.sessions, options.messages.div_ceil(10)).await?;
    let mut ours = Vec::new();
    for number in 1..=options.runs {
        sink.reset().await?;
        let rate = tool::smtp_source(&options.postfix, &place.sink_smtp, options.sessions, options.messages).await?;
        let received = sink.stats().await?.received;
        if received != u64::try_from(options.messages)? {
            bail!("{received} of {} messages arrived", options.messages);
        }
        row(["mochila-sink".to_owned(), number.to_string(), format!("{rate:.0}")]);
        ours.push(rate);
    }

    let address = format!("127.0.0.1:{}", std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
    let mut other = tool::smtp_sink(&options.postfix, &address)?;
    let mut tries = 0;
    while tokio::net::TcpStream::connect(&address).await.is_err() {
        tries += 1;
        if tries > 100 || other.try_wait()?.is_some() {
            bail!("smtp-sink does not answer at {address}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tool::smtp_source(&options.postfix, &address, options.sessions, options.messages.div_ceil(10)).await?;
    let mut postfix = Vec::new();
    for number in 1..=options.runs {
        let rate = tool::smtp_source(&options.postfix, &address, options.sessions, options.messages).await?;
        row(["smtp-sink".to_owned(), number.to_string(), format!("{rate:.0}")]);
        postfix.push(rate);
    }
    other.kill().await?;
    let figures = Figures { ours_per_second: median(ours.clone()), postfix_per_second: median(postfix.clone()), ours, postfix };
    println!("\nMedians: mochila-sink {:.0}/s, smtp-sink {:.0}/s.", figures.ours_per_second, figures.postfix_per_second);
    conditions.write(place.json.as_ref(), &figures)
}
