//! The operator's commands: arguments in, one or two calls into `shared`, a few lines out.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use clap::Args;
use shared::{
    PgPool,
    clock::Clock,
    database,
    deliveries::{limits, shaping::Rules},
    operations::{
        dead,
        doctor::{self, Check, Verdict},
        installation, report, sending, shaping, stuck,
    },
    queue::{inspect::Dead, lane::Lane},
    settings::Settings,
};
use uuid::Uuid;

/// `stuck`
#[derive(Args)]
pub struct Stuck {
    /// The same as JSON, with every figure
    #[arg(long)]
    pub json: bool,
}

/// `doctor`
#[derive(Args)]
pub struct Doctor {
    /// The same as JSON
    #[arg(long)]
    pub json: bool,
}

/// Looks at everything that a worker stands on. The answer is the exit code: 1 where something will not do.
///
/// # Errors
/// It could not be printed.
pub async fn doctor(settings: Result<Settings, String>, arguments: &Doctor) -> anyhow::Result<ExitCode> {
    let checks = match settings {
        Ok(settings) => crate::doctor::examine(&settings, &Clock::system()).await,
        Err(error) => vec![Check::fail("settings", error, "deploy/config.default.toml names every setting")],
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&checks)?);
    } else {
        print!("{}", doctor::report(&checks));
    }
    Ok(if doctor::verdict(&checks) == Verdict::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// `check-shaping`
#[derive(Args)]
pub struct CheckShaping {
    /// The file; absent: the one that sending.shaping names
    pub file: Option<PathBuf>,
}

/// Says what is wrong with a shaping file. The answer is the exit code. Routes and workspaces are looked up where PostgreSQL answers.
///
/// # Errors
/// No file is named, or it cannot be read.
pub async fn check_shaping(settings: Result<Settings, String>, arguments: &CheckShaping) -> anyhow::Result<ExitCode> {
    let named = settings.as_ref().ok().map(|settings| settings.sending.shaping.clone()).filter(|path| !path.is_empty());
    let Some(file) = arguments.file.clone().or(named.map(PathBuf::from)) else {
        anyhow::bail!("no file is given, and sending.shaping names none");
    };
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let rules = match Rules::read(Some(&text)) {
        Ok(rules) => rules,
        Err(reasons) => {
            reasons.iter().for_each(|reason| println!("{reason}"));
            return Ok(ExitCode::FAILURE);
        }
    };
    let unknown = match settings {
        Ok(settings) => match open(&settings).await {
            Ok(pool) => shaping::unknown_targets(&pool, &rules).await.map_err(anyhow::Error::from),
            Err(error) => Err(error),
        },
        Err(error) => Err(anyhow::anyhow!(error)),
    };
    match unknown {
        Ok(unknown) if unknown.is_empty() => println!("{} is well-formed, and all that it names is there", file.display()),
        Ok(unknown) => {
            unknown.iter().for_each(|reason| println!("{reason}"));
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => println!("{} is well-formed; its routes and workspaces were not looked up: {error:#}", file.display()),
    }
    Ok(ExitCode::SUCCESS)
}

/// `pause-sending`
#[derive(Args)]
pub struct PauseSending {
    /// Why, for whoever looks next
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Account mail and test mails too, which otherwise go out
    #[arg(long)]
    pub all: bool,
}

/// `requeue-dead`
#[derive(Args)]
pub struct RequeueDead {
    /// Only jobs of this kind, e.g. LoadContacts
    #[arg(long)]
    pub kind: Option<String>,
    /// Only jobs of this lane
    #[arg(long)]
    pub lane: Option<Lane>,
    /// Only this job
    #[arg(long)]
    pub id: Option<Uuid>,
    /// Only jobs that died since then: 90m, 2h, 3d, a date or an RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<DateTime<Utc>>,
    /// Try the failed recipients of finished campaigns once more, whose chunks are dead and cannot be run again
    #[arg(long)]
    pub retry_failed: bool,
    /// Do it
    #[arg(long)]
    pub yes: bool,
}

fn since(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    if let Some(midnight) = text.parse::<NaiveDate>().ok().and_then(|date| date.and_hms_opt(0, 0, 0)) {
        return Ok(midnight.and_utc());
    }
    let wrong = || format!("{text:?} is neither a span such as 90m, 2h or 3d, nor a date, nor an RFC 3339 time");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let number: i64 = text.strip_suffix(unit).and_then(|number| number.parse().ok()).filter(|n| *n >= 0).ok_or_else(wrong)?;
    let span = match unit {
        'm' => TimeDelta::try_minutes(number),
        'h' => TimeDelta::try_hours(number),
        'd' => TimeDelta::try_days(number),
        _ => None,
    };
    span.and_then(|span| Clock::system().now().checked_sub_signed(span)).ok_or_else(wrong)
}

async fn open(settings: &Settings) -> anyhow::Result<PgPool> {
    let pool = database::pool(&settings.database, "mochila-worker operator").context("settings: database.url is malformed")?;
    database::check_schema(&pool).await.context("PostgreSQL")?;
    Ok(pool)
}

/// Prints what does not move.
///
/// # Errors
/// PostgreSQL does not answer.
pub async fn stuck(settings: &Settings, arguments: &Stuck) -> anyhow::Result<()> {
    let pool = database::pool(&settings.database, "mochila-worker operator").context("settings: database.url is malformed")?;
    let picture = stuck::picture(&pool, settings).await.context("PostgreSQL")?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&picture)?);
    } else {
        print!("{}", report::of(&picture));
    }
    Ok(())
}

/// Holds sending back.
///
/// # Errors
/// PostgreSQL does not answer, or the reason is too long.
pub async fn pause_sending(settings: &Settings, arguments: &PauseSending) -> anyhow::Result<()> {
    let pool = open(settings).await?;
    sending::pause(&mut *pool.acquire().await?, arguments.all, arguments.reason.as_deref()).await?;
    let scope = if arguments.all { "everything" } else { "campaigns; account mail goes on (--all holds it too)" };
    println!("paused: {scope}\nno worker starts another message within 5 s\n-> mochila-worker resume-sending");
    Ok(())
}

/// Lets sending go on.
///
/// # Errors
/// PostgreSQL does not answer.
pub async fn resume_sending(settings: &Settings) -> anyhow::Result<()> {
    let pool = open(settings).await?;
    let mut connection = pool.acquire().await?;
    let resumed = sending::resume(&mut connection).await?;
    println!("{}", if resumed { "sending goes on" } else { "sending was not paused" });
    if sending::standing(&mut connection).await?.hold == Some(sending::Hold::Restored) {
        println!("nothing is sent yet: this database is a copy that nobody has confirmed\n-> mochila-worker confirm-restore");
    }
    Ok(())
}

/// Says that this database is the one that sends.
///
/// # Errors
/// PostgreSQL does not answer.
pub async fn confirm_restore(settings: &Settings) -> anyhow::Result<()> {
    let pool = open(settings).await?;
    if installation::confirm(&pool).await? {
        println!("confirmed: this database is the one that sends; its workers begin within 5 s");
    } else {
        println!("there is nothing to confirm: this database is the one that sends");
    }
    let standing = sending::standing(&mut *pool.acquire().await?).await?;
    if standing.hold.is_some() {
        println!("sending is paused by an operator\n-> mochila-worker resume-sending");
    }
    Ok(())
}

/// Lifts what holds a destination back.
///
/// # Errors
/// PostgreSQL does not answer, it is no domain, or nothing is known of it.
pub async fn resume_destination(settings: &Settings, domain: &str) -> anyhow::Result<()> {
    let pool = open(settings).await?;
    limits::resume(&mut *pool.acquire().await?, domain).await?;
    println!("{domain} is neither suspended, cooling down nor slowed any more; an operator's limits stay");
    Ok(())
}

/// Says what would happen to dead jobs, and with `--yes` does it.
///
/// # Errors
/// PostgreSQL does not answer.
pub async fn requeue_dead(settings: &Settings, arguments: &RequeueDead) -> anyhow::Result<()> {
    let pool = open(settings).await?;
    let choice = Dead { lane: arguments.lane, kind: arguments.kind.clone(), id: arguments.id, since: arguments.since };
    let groups = dead::plan(&pool, &choice).await?;
    if groups.is_empty() {
        println!("no dead jobs match");
        return Ok(());
    }
    for group in &groups {
        let fate = group.refused.as_ref().map_or_else(|| "back in line".to_owned(), |reason| format!("stay: {reason}"));
        println!("{:>6}  {} ({}), dead since {}: {fate}", group.jobs, group.kind, group.lane, group.oldest.format("%F %H:%M"));
        if let Some(error) = &group.last_error {
            println!("        last error: {error}");
        }
    }
    let any_refused = groups.iter().any(|group| group.refused.is_some() && !group.campaigns.is_empty());
    if !arguments.yes {
        println!("-> add --yes to do it{}", if any_refused { "; --retry-failed takes up the failed recipients" } else { "" });
        return Ok(());
    }
    println!("{} jobs are back in line", dead::requeue(&pool, &choice).await?);
    if arguments.retry_failed {
        let retried = dead::retry_recipients(&pool, &groups).await?;
        println!("{} campaigns try their failed recipients once more", retried.len());
        retried.iter().for_each(|id| println!("        campaign {id}"));
    } else if any_refused {
        println!("-> --retry-failed takes up the failed recipients of finished campaigns");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_reads_spans_dates_and_times() {
        assert_eq!(since("2026-03-01").expect("a date").to_rfc3339(), "2026-03-01T00:00:00+00:00");
        assert_eq!(since("2026-03-01T04:00:00+01:00").expect("a time").to_rfc3339(), "2026-03-01T03:00:00+00:00");
        let before = Clock::system().now();
        let span = since("2h").expect("a span") + TimeDelta::hours(2);
        assert!(before <= span && span <= Clock::system().now());
        for wrong in ["", "h", "2x", "-3d", "99999999999999d", "é"] {
            assert!(since(wrong).expect_err(wrong).contains("is neither a span"), "{wrong}");
        }
    }
}
