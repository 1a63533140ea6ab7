//! The operator's commands: one or two calls into `shared`, a few lines out.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use shared::{
    clock::Clock,
    database,
    keyring::{self, Length, Ring},
    operations::{
        doctor::{self, Check, Needs, Verdict},
        report, reseal, stuck,
    },
    settings::Settings,
    vault::Vault,
};

/// `doctor`
#[derive(Args)]
pub struct Doctor {
    /// The same as JSON
    #[arg(long)]
    pub json: bool,
}

/// Connections of the front beside its pool: it watches PostgreSQL over one, and polls are answered over a few.
const OWN_CONNECTIONS: u32 = 1 + database::FEW;
/// Open files beside connections to PostgreSQL: a few hundred clients, and what else there is.
const OPEN_FILES: u64 = 512;

/// Looks at everything that the front stands on. The answer is the exit code: 1 where something will not do.
#[tokio::main]
pub async fn doctor(settings: Result<Settings, String>, arguments: &Doctor) -> ExitCode {
    let checks = match settings {
        Ok(settings) => {
            let database_connections = settings.database.max_connections + OWN_CONNECTIONS;
            let needs = Needs {
                database_connections,
                open_files: OPEN_FILES + u64::from(database_connections),
                listeners: &[("api.listen", &settings.api.listen), ("api.metrics_listen", &settings.api.metrics_listen)],
            };
            doctor::examine(&settings, needs, &Clock::system()).await
        }
        Err(error) => vec![Check::fail("settings", error, "deploy/config.default.toml names every setting")],
    };
    match serde_json::to_string_pretty(&checks) {
        Ok(json) if arguments.json => println!("{json}"),
        _ => print!("{}", doctor::report(&checks)),
    }
    if doctor::verdict(&checks) == Verdict::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// `status`
#[derive(Args)]
pub struct Status {
    /// The same as JSON, with every figure
    #[arg(long)]
    pub json: bool,
}

/// Prints what does not move.
///
/// # Errors
/// PostgreSQL does not answer.
pub async fn status(settings: &Settings, arguments: &Status) -> anyhow::Result<()> {
    let pool = database::pool(&settings.database, "mochila-api status").context("settings: database.url is malformed")?;
    let picture = stuck::picture(&pool, settings).await.context("PostgreSQL")?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&picture)?);
    } else {
        print!("{}", report::of(&picture));
    }
    Ok(())
}

/// `rotate-keys`
#[derive(Args)]
pub struct RotateKeys {
    /// Which keys; absent: all three
    pub keys: Vec<Kind>,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Signs access tokens
    Jwt,
    /// Seals credentials at rest
    Encryption,
    /// Signs the links in mails
    Links,
}

/// Prints settings with new keys in the lead.
///
/// # Errors
/// A key of the settings cannot be used.
pub fn rotate_keys(settings: &Settings, arguments: &RotateKeys) -> anyhow::Result<()> {
    let today = Clock::system().now().format("%Y%m%d").to_string();
    let kinds = if arguments.keys.is_empty() { &[Kind::Jwt, Kind::Encryption, Kind::Links][..] } else { &arguments.keys };
    let mut rotations = Vec::new();
    for kind in kinds {
        let (name, ring) = ring(settings, *kind).map_err(anyhow::Error::msg)?;
        rotations.push((name, keyring::rotated(&ring, &today)));
    }
    println!("# Step 1. Put these lines into [secrets] and restart every server and worker: all of them know the new keys then.");
    for (name, rotation) in &rotations {
        println!("{name}s = \"{}\"\n{name} = \"\"", rotation.known);
    }
    println!("\n# Step 2. Put these in their place and restart all of them again: the new keys sign and seal.");
    for (name, rotation) in &rotations {
        println!("{name}s = \"{}\"", rotation.leading);
    }
    println!();
    println!("# Step 3. Take the old entries out and restart, when nothing needs them any more:");
    for kind in kinds {
        match kind {
            Kind::Jwt => println!(
                "#         jwt_keys: {} s after step 2, when the last old access token is over",
                settings.auth.access_token_seconds
            ),
            Kind::Encryption => {
                println!("#         encryption_keys: when mochila-api reseal says that nothing is under the old key")
            }
            Kind::Links => println!("#         link_keys: when no mail with an old link matters any more; a year is usual"),
        }
    }
    Ok(())
}

fn ring(settings: &Settings, kind: Kind) -> Result<(&'static str, Ring), String> {
    let secrets = &settings.secrets;
    let (name, ring, single, length) = match kind {
        Kind::Jwt => ("jwt_key", &secrets.jwt_keys, &secrets.jwt_key, Length::AtLeast(32)),
        Kind::Encryption => ("encryption_key", &secrets.encryption_keys, &secrets.encryption_key, Length::Exactly(32)),
        Kind::Links => ("link_key", &secrets.link_keys, &secrets.link_key, Length::AtLeast(32)),
    };
    Ring::read(name, ring, single, length).map(|ring| (name, ring))
}

/// Seals everything under the active key.
///
/// # Errors
/// PostgreSQL does not answer, or something does not open with any key.
pub async fn reseal(settings: &Settings) -> anyhow::Result<()> {
    let vault = Vault::from_settings(&settings.secrets).map_err(anyhow::Error::msg)?;
    let pool = database::pool(&settings.database, "mochila-api reseal").context("settings: database.url is malformed")?;
    database::check_schema(&pool).await?;
    let resealed = reseal::all(&pool, &vault).await?;
    println!("{} values were sealed again under the key {:?}", resealed.changed, vault.active_id());
    for (key, values) in &resealed.by_key {
        println!("  {values:>6}  under {key:?}{}", if key == vault.active_id() { ", the active key" } else { "" });
    }
    resealed.broken.iter().for_each(|broken| println!("  does not open: {broken}"));
    let (_, ring) = ring(settings, Kind::Encryption).map_err(anyhow::Error::msg)?;
    for key in ring.keys().iter().skip(1).filter(|key| !resealed.by_key.contains_key(&key.id)) {
        println!("nothing is under the key {:?} any more: it can be taken out of secrets.encryption_keys", key.id);
    }
    anyhow::ensure!(resealed.broken.is_empty(), "{} values do not open: enter those credentials again", resealed.broken.len());
    Ok(())
}
