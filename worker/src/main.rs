//! `mochila-worker`: see the library.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mochila_worker::{operate, parse_bounce};
use shared::settings::Settings;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs Mochila's jobs: sends campaigns, imports files, keeps house. Without a command it is a worker, until SIGTERM.
///
/// The commands are for whoever runs the house: they talk to PostgreSQL and work while workers run, and while they do not.
#[derive(Parser)]
#[command(
    version,
    after_help = "Settings come from MOCHILA_CONFIG and MOCHILA_… variables; deploy/config.default.toml names them all."
)]
struct Arguments {
    /// Lanes to serve, e.g. bulk,critical; absent: worker.lanes of the settings
    #[arg(long)]
    lanes: Option<String>,
    /// Also take mail that comes back: at inbound.listen of the settings, or at 0.0.0.0:2525
    #[arg(long)]
    inbound: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Be a worker (the default).
    Run,
    /// What does not move, per lane and destination, why, and what mends it. Works while Redis is down.
    Stuck(operate::Stuck),
    /// Look at everything that a worker stands on: settings, PostgreSQL, Redis, clocks, disk, DNS, relays. Sends nothing.
    ///
    /// Ends with 1 where something will not do.
    Doctor(operate::Doctor),
    /// Look at a shaping file before it is used. Ends with 1 where it is wrong; says all that is wrong.
    CheckShaping(operate::CheckShaping),
    /// Hold all sending back, over all workers, within 5 s. What is on the wire ends; nothing is lost.
    PauseSending(operate::PauseSending),
    /// Let sending go on where it was paused.
    ResumeSending,
    /// Say that this database is the one that sends. Until then a restored backup, a promoted standby or a moved cluster sends nothing.
    ///
    /// First make sure that the original sends no more. What the original sent after the backup was taken is not known here: campaigns
    /// that were being sent then will send that part again, so cancel those first that must not.
    ConfirmRestore,
    /// Put dead jobs back in line with all their attempts. Says what would happen; --yes does it. Twice is as good as once.
    RequeueDead(operate::RequeueDead),
    /// Say what bounces and complaints tell: one JSON line a recipient. Needs no settings and no database.
    ///
    /// Ends with 1 where a file cannot be read.
    ParseBounce(parse_bounce::ParseBounce),
    /// Lift the suspension, the cooldown and the slow-down of a recipient domain.
    ResumeDestination {
        /// The domain, e.g. example.com
        domain: String,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mochila-worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if let Some(Command::Doctor(doctor)) = &arguments.command {
        return operate::doctor(Settings::load(), doctor).await;
    }
    if let Some(Command::ParseBounce(files)) = &arguments.command {
        return parse_bounce::parse_bounce(files, &mut std::io::stdout().lock());
    }
    if let Some(Command::CheckShaping(check)) = &arguments.command {
        return operate::check_shaping(Settings::load(), check).await;
    }
    let settings = Settings::load().map_err(anyhow::Error::msg)?;
    match arguments.command.unwrap_or(Command::Run) {
        Command::Run | Command::Doctor(_) | Command::ParseBounce(_) | Command::CheckShaping(_) => {
            Box::pin(mochila_worker::process::run(settings, arguments.lanes, arguments.inbound)).await?
        }
        Command::Stuck(stuck) => operate::stuck(&settings, &stuck).await?,
        Command::PauseSending(pause) => operate::pause_sending(&settings, &pause).await?,
        Command::ResumeSending => operate::resume_sending(&settings).await?,
        Command::ConfirmRestore => operate::confirm_restore(&settings).await?,
        Command::RequeueDead(requeue) => operate::requeue_dead(&settings, &requeue).await?,
        Command::ResumeDestination { domain } => operate::resume_destination(&settings, &domain).await?,
    }
    Ok(ExitCode::SUCCESS)
}
