//! `deploy/local chaos`, once PostgreSQL and Redis run.

use std::process::ExitCode;

use clap::Parser;
use mochila_bench::chaos::suite::{self, Options};

#[tokio::main]
async fn main() -> ExitCode {
    match suite::run(&Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mochila-chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}
