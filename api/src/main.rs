//! `mochila-api`: the HTTP front, and the commands that prepare a house.

use std::{io::BufRead, process::ExitCode};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
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
    telemetry::init_logs(&settings.log).map_err(anyhow::Error::msg)?;
    match command {
        Command::Serve => Box::pin(mochila_api::serve::serve(settings)).await,
        Command::Migrate => migrate(settings).await,
        Command::CreateAdmin(admin) => create_admin(settings, admin).await,
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
