//! `deploy/local chaos`, once PostgreSQL and Redis run.

use std::process::ExitCode;

use clap::Parser;
use mochila_bench::chaos::suite::{self, Options};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let passed = suite::run(&Options::parse()).await?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
