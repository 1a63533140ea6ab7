//! `deploy/local bench`, once the stack runs.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mochila_bench::load::{api, dkim, import, launch, messages, scale_out, send, sink};

/// Measures Mochila.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Messages a second that one relay accepts.
    Send(send::Options),
    /// The same where each message is signed.
    Dkim(dkim::Options),
    /// First mail, memory and cost of a large campaign.
    Launch(launch::Options),
    /// Messages to one person each beside a campaign, from the request to the sink.
    Messages(messages::Options),
    /// Rows a second of a contact file.
    Import(import::Options),
    /// Requests a second, and latency at a fixed rate.
    Api(api::Options),
    /// More worker processes, each with as many connections.
    ScaleOut(scale_out::Options),
    /// What the sink itself takes.
    Sink(sink::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mochila-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Send(options) => send::run(&options).await,
        Command::Dkim(options) => dkim::run(&options).await,
        Command::Launch(options) => launch::run(&options).await,
        Command::Messages(options) => messages::run(&options).await,
        Command::Import(options) => import::run(&options).await,
        Command::Api(options) => api::run(&options).await,
        Command::ScaleOut(options) => scale_out::run(&options).await,
        Command::Sink(options) => sink::run(&options).await,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_command_is_well_formed() {
        <super::Cli as clap::CommandFactory>::command().debug_assert();
    }
}
