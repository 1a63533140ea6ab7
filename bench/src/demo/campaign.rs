//! The story: list, upload, campaign, send, balance.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use chrono::Local;
use reqwest::multipart::Part;
use uuid::Uuid;

use super::{
    journey::Journey,
    report,
    screen::{Screen, bar, duration, grouped},
    template,
};
use crate::client::{
    answers::Progress,
    api::{Api, Login},
    contacts,
    sink::Sink,
};

/// What to send, and to whom.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    login: Login,
    /// Generated sample contacts.
    #[arg(long, default_value_t = 10_000)]
    recipients: usize,
    /// A contact file instead of generated ones; a column named email is needed.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// A relay, smtp://host:port, instead of the bundled sink.
    #[arg(long, value_name = "URL")]
    smtp: Option<String>,
    /// Where the bundled sink takes mail, host:port.
    #[arg(long, env = "SINK_SMTP", hide = true)]
    sink_smtp: String,
    /// Where the bundled sink tells its counters.
    #[arg(long, env = "SINK_HTTP", hide = true)]
    sink_http: String,
    /// The file that holds the addresses and the password, named at the end.
    #[arg(long, hide = true)]
    credentials: Option<PathBuf>,
    /// Judge by the exit code: 0 if the campaign balances and nobody got it twice.
    #[arg(long)]
    exit: bool,
}

/// Connections that the demo's route may open.
pub const ROUTE_CONNECTIONS: usize = 128;

/// Runs the whole story.
///
/// # Errors
/// Something was refused or failed; with `--exit` also a campaign that does not balance, or a message that came twice.
pub async fn run(options: &Options) -> Result<()> {
    let mut api = Api::login(&options.login).await?;
    let stamp = Local::now().format("%Y-%m-%d %H:%M:%S").to_string();
    api.move_to_new_workspace(&format!("Demo {stamp}")).await?;
    let list = api.new_list(&format!("Readers {stamp}")).await?;
    let mut screen = Screen::default();
    upload(&api, options, list, &mut screen).await?;

    let url = options.smtp.clone().unwrap_or_else(|| format!("smtp://{}", options.sink_smtp));
    let route = api.route_to(&url, ROUTE_CONNECTIONS).await?;
    let html = if options.csv.is_some() { template::PLAIN_HTML } else { template::HTML };
    let subject = if options.csv.is_some() { "A test of our mail system" } else { template::SUBJECT };
    let campaign = api.new_campaign(&format!("Spring harvest {stamp}"), list, route, subject, html).await?;
    let sink = if options.smtp.is_none() { Some(Sink::at(&options.sink_http)?) } else { None };
    let before = match &sink {
        Some(sink) => sink.stats().await?,
        None => Default::default(),
    };

    println!("\nSending a campaign over {url}");
    let mut journey = Journey::begin();
    api.ask(campaign, "send").await?;
    let progress = follow(&api, campaign, &mut journey, &mut screen).await?;

    let arrived = match &sink {
        Some(sink) => {
            let mut stats = sink.stats().await?;
            stats.received = stats.received.saturating_sub(before.received);
            stats.duplicates = stats.duplicates.saturating_sub(before.duplicates);
            Some(stats)
        }
        None => None,
    };
    println!("{}", report::summary(&progress, &journey, arrived.as_ref()));
    println!("  Campaign     {}/api/v1/campaigns/{campaign}", options.login.url);
    println!("  Deliveries   {}/api/v1/campaigns/{campaign}/deliveries", options.login.url);
    println!("  Sink         {}/stats", options.sink_http);
    if let Some(file) = &options.credentials {
        println!("  Credentials  {}", file.display());
    }
    println!();
    if options.exit {
        if !progress.is_over() || progress.sum() != progress.audience.unwrap_or(0) {
            bail!("the campaign does not balance");
        }
        if arrived.is_some_and(|stats| stats.duplicates > 0) {
            bail!("some messages were received twice");
        }
    }
    Ok(())
}

async fn upload(api: &Api, options: &Options, list: Uuid, screen: &mut Screen) -> Result<()> {
    let file = if let Some(path) = &options.csv {
        println!("\nUploading {}", path.display());
        Part::file(path).await.with_context(|| format!("failed to read {}", path.display()))?.mime_str("text/csv")?
    } else {
        println!("\nUploading {} generated contacts", grouped(u64::try_from(options.recipients)?));
        let csv = contacts::csv(options.recipients.try_into()?, options.recipients, contacts::VARIED);
        Part::bytes(csv).file_name("contacts.csv").mime_str("text/csv")?
    };
    let import = api.import(list, file).await?;
    loop {
        let job = api.job(import.job_id).await?;
        let share = if job.is_over() { 1.0 } else { job.progress.percent.unwrap_or(0.0) / 100.0 };
        let text = format!("  {}  {:.0} % loaded, {}", bar(share), share * 100.0, job.state);
        screen.show(std::slice::from_ref(&text), text.trim_start_matches([' ', '█']));
        if job.state == "succeeded" {
            screen.keep();
            return Ok(());
        }
        if job.is_over() {
            bail!("the import ended {}: {}", job.state, job.error);
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

async fn follow(api: &Api, campaign: Uuid, journey: &mut Journey, screen: &mut Screen) -> Result<Progress> {
    let mut refused = 0;
    loop {
        match api.progress(campaign).await {
            Ok(progress) => {
                refused = 0;
                journey.note(&progress);
                if progress.is_over() {
                    screen.show(&report::block(&progress, journey), &report::line(&progress, journey));
                    screen.keep();
                    return Ok(progress);
                }
                screen.show(&report::block(&progress, journey), &report::line(&progress, journey));
            }
            // Whoever watches may restart the api meanwhile: the campaign goes on without it.
            Err(error) if refused < 120 => {
                refused += 1;
                let text = format!("  no progress for {}: {error:#}", duration(f64::from(refused) * 0.25));
                screen.show(&[], &text);
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
