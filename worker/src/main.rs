//! `mochila-worker`: see the library.

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs Mochila's jobs: sends campaigns, imports files, keeps house.
#[derive(Parser)]
#[command(
    version,
    after_help = "Settings come from MOCHILA_CONFIG and MOCHILA_… variables; deploy/config.default.toml names them all."
)]
struct Arguments {
    /// Lanes to serve, e.g. bulk,critical; absent: worker.lanes of the settings
    #[arg(long)]
    lanes: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let settings = shared::settings::Settings::load().map_err(anyhow::Error::msg)?;
    mochila_worker::process::run(settings, arguments.lanes).await
}
