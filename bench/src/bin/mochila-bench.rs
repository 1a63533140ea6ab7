//! `deploy/local bench`, once the stack runs.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mochila_bench::load::send;

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
    }
}
