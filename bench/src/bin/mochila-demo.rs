//! `deploy/local demo`, once the stack runs.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mochila_bench::{
    client::api::{Api, Login},
    demo::campaign::{self, ROUTE_CONNECTIONS},
};

/// Shows Mochila at work.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Uploads contacts, sends them a campaign and shows its progress.
    Campaign(campaign::Options),
    /// Makes a route to a relay unless there is one.
    Route {
        #[command(flatten)]
        login: Login,
        /// smtp://host:port
        #[arg(long)]
        smtp: String,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mochila-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Campaign(options) => campaign::run(&options).await,
        Command::Route { login, smtp } => {
            let route = Api::login(&login).await?.route_to(&smtp, ROUTE_CONNECTIONS).await?;
            println!("{route}");
            Ok(())
        }
    }
}
