//! `mochila-api`: the HTTP front, and the commands that prepare a house.

use std::{io::BufRead, process::ExitCode};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use mochila_api::operate;
use shared::{
    accounts::{
        level::Level,
        password::Passwords,
        register::{self, Registration},
        user::Role,
    },
    database,
    operations::installation,
    settings::Settings,
    telemetry,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The HTTP front of Mochila.
///
/// Settings come from the documented defaults (deploy/config.default.toml), then the file named in MOCHILA_CONFIG, then variables:
/// MOCHILA_ and the path with two underscores, e.g. MOCHILA_DATABASE__URL.
#[derive(Parser)]
#[command(name = "mochila-api", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve HTTP until SIGTERM or SIGINT (the default).
    Serve,
    /// Bring the database's schema to the version that this build needs.
    Migrate,
    /// Make a user who may do everything, with a workspace.
    CreateAdmin(CreateAdmin),
    /// Look at everything that the front stands on: settings, PostgreSQL, Redis, clocks, disk, DNS, ports.
    ///
    /// Ends with 1 where something will not do. mochila-worker doctor looks at the relays too.
    Doctor(operate::Doctor),
    /// What does not move, per lane and destination, why, and what mends it. The same as mochila-worker stuck.
    Status(operate::Status),
    /// Make new keys and print the settings in which they lead, with the old ones behind them, and what to do in which order.
    ///
    /// Nothing is changed. The output holds secrets.
    RotateKeys(operate::RotateKeys),
    /// Seal again, under the first of secrets.encryption_keys, what an older key sealed; tells when an older key can be thrown away.
    ///
    /// Safe while servers run, and again from wherever it ended.
    Reseal,
}

#[derive(Args)]
struct CreateAdmin {
    /// Address to log in with.
    #[arg(long, env = "MOCHILA_ADMIN_EMAIL")]
    email: String,
    /// Password of 8 to 128 characters. On the command line others can see it: leave it out to be read from MOCHILA_ADMIN_PASSWORD,
    /// or from the first line of the standard input.
    #[arg(long, env = "MOCHILA_ADMIN_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// What the new workspace is called.
    #[arg(long, value_name = "NAME", default_value = "Main")]
    workspace: String,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Command::Doctor(doctor)) = &cli.command {
        return operate::doctor(Settings::load(), doctor);
    }
    match run(cli.command.unwrap_or(Command::Serve)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mochila-api: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(command: Command) -> anyhow::Result<()> {
    let settings = Settings::load().map_err(anyhow::Error::msg)?;
    if let Command::Serve = command {
        let telemetry = telemetry::init(&settings, "mochila-api").map_err(anyhow::Error::msg)?;
        let served = Box::pin(mochila_api::serve::serve(settings)).await;
        telemetry.flush().await;
        return served;
    }
    telemetry::init_logs(&settings.log).map_err(anyhow::Error::msg)?;
    match command {
        Command::Serve => Ok(()),
        Command::Migrate => migrate(settings).await,
        Command::CreateAdmin(admin) => create_admin(settings, admin).await,
        Command::Doctor(_) => Ok(()),
        Command::Status(status) => operate::status(&settings, &status).await,
        Command::RotateKeys(rotate) => operate::rotate_keys(&settings, &rotate),
        Command::Reseal => operate::reseal(&settings).await,
    }
}

async fn migrate(settings: Settings) -> anyhow::Result<()> {
    let pool = database::pool(&settings.database, "mochila-api migrate")?;
    database::migrate(&pool).await.context("cannot migrate")?;
    println!("the schema is up to date");
    if installation::begin(&pool).await? {
        println!(
            "this database is the one that sends from now on; a copy of it sends nothing until mochila-worker confirm-restore"
        );
    }
    Ok(())
}

async fn create_admin(settings: Settings, admin: CreateAdmin) -> anyhow::Result<()> {
    let password = match admin.password {
        Some(password) => password,
        None => first_line().context("cannot read the password from the standard input")?,
    };
    let pool = database::pool(&settings.database, "mochila-api create-admin")?;
    database::check_schema(&pool).await?;
    let registration = Registration {
        email: admin.email,
        name: String::new(),
        password,
        role: Role::Admin,
        level: Level::Owner,
        workspace_id: None,
        workspace_name: Some(admin.workspace),
    };
    let user = register::register(&pool, &Passwords::new()?, registration).await?;
    let made = serde_json::json!({ "id": user.id, "email": user.email, "workspace_id": user.workspace_id });
    println!("{made}");
    Ok(())
}

fn first_line() -> std::io::Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
