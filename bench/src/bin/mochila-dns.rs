//! A name server on loopback for the local stack: it publishes the records that sending domains below `.test` ask for.

use std::net::SocketAddr;

use anyhow::Context;
use clap::Parser;
use mochila_bench::{
    client::api::Login,
    dns::{Publisher, Server},
};

/// A name server that answers for the sending domains of a stack.
#[derive(Parser)]
#[command(name = "mochila-dns")]
struct Arguments {
    /// Where it is asked, over UDP and TCP.
    #[arg(long, default_value = "127.0.0.1:5300")]
    listen: SocketAddr,
    #[command(flatten)]
    login: Login,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let arguments = Arguments::parse();
    let server = Server::listen_with(arguments.listen, Publisher::new(arguments.login))
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    println!("dns://{}", server.address);
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => Ok(result?),
        _ = terminate.recv() => Ok(()),
    }
}
