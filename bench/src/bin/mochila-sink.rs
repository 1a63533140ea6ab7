//! A counting mail server that takes everything, for demonstrations, tests and measurements.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context;
use clap::Parser;
use mochila_bench::sink::{HELP, Options, Sink};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A mail server that counts what it takes, by Message-ID.
#[derive(Parser)]
#[command(name = "mochila-sink", after_help = HELP)]
struct Arguments {
    /// Where mails come in.
    #[arg(long, default_value = "127.0.0.1:2525")]
    smtp: SocketAddr,
    /// Where it is asked for its counts.
    #[arg(long, default_value = "127.0.0.1:8025")]
    http: SocketAddr,
    /// Milliseconds before each message is accepted.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Write a line for each message: Unix milliseconds, Message-ID, recipient.
    #[arg(long)]
    log: Option<PathBuf>,
    /// Threads; one is the least work for the machine.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut runtime = if arguments.threads <= 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        let mut many = tokio::runtime::Builder::new_multi_thread();
        many.worker_threads(arguments.threads);
        many
    };
    runtime.enable_all().build()?.block_on(async {
        let options = Options { smtp: arguments.smtp, http: arguments.http, delay_ms: arguments.delay_ms, log: arguments.log };
        let sink =
            Sink::start(&options).await.with_context(|| format!("cannot listen on {} and {}", options.smtp, options.http))?;
        println!("smtp://{} http://{}", sink.smtp, sink.http);
        ended().await
    })
}

async fn ended() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => Ok(result?),
        _ = terminate.recv() => Ok(()),
    }
}
