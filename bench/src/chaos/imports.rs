//! `kill -9` of a worker in the middle of a file: every row once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::multipart::Part;
use tokio::time::sleep;
use uuid::Uuid;

use super::{lab::Lab, verdict::Verdict};
use crate::client::{answers::Import, api::Api, contacts};

/// As it is named on the command line.
pub const NAME: &str = "import-killed";
const ROWS: usize = 200_000;
const PATIENCE: Duration = Duration::from_secs(180);

/// Runs it; whatever goes wrong is in the verdict.
pub async fn run(lab: &mut Lab) -> Verdict {
    let begun = Instant::now();
    let mut verdict = Verdict { name: NAME.to_owned(), ..Verdict::default() };
    if let Err(error) = play(lab, &mut verdict).await {
        verdict.problems.push(format!("{error:#}"));
    }
    if let Err(error) = lab.close().await {
        verdict.problems.push(format!("{error:#}"));
    }
    verdict.took(begun.elapsed());
    verdict
}

async fn play(lab: &mut Lab, verdict: &mut Verdict) -> Result<()> {
    let api = lab.open(NAME).await?;
    let list = api.new_list(NAME).await?;
    let file = Part::bytes(contacts::csv(77, ROWS, contacts::EVEN)).file_name("contacts.csv").mime_str("text/csv")?;
    let import = api.import(list, file).await?;

    let (worker, done) = under_way(lab, &api, import).await?;
    lab.take_worker(worker)?.kill().await?;
    let killed = Instant::now();
    verdict.remarks.push(format!("killed with {done} of {ROWS} rows done"));
    lab.start_worker(worker).await?;
    loop {
        let job = api.job(import.job_id).await?;
        if verdict.recovery_seconds.is_none() && rows_in(lab, import.id).await? > done {
            verdict.recovery_seconds = Some(killed.elapsed().as_secs_f64());
        }
        if job.state == "succeeded" {
            break;
        }
        if job.is_over() || killed.elapsed() > PATIENCE {
            bail!("the job is {} {} s after the kill: {}", job.state, killed.elapsed().as_secs(), job.error);
        }
        sleep(Duration::from_millis(200)).await;
    }

    let rows = ROWS.to_string();
    let members = format!("SELECT count(*) FROM list_members WHERE list_id = '{list}'");
    let counted = format!("SELECT rows_created + rows_updated FROM imports WHERE id = '{}'", import.id);
    let others = format!("SELECT rows_duplicate + rows_invalid FROM imports WHERE id = '{}'", import.id);
    for (what, question, expected) in
        [("members of the list", members, rows.as_str()), ("rows counted", counted, &rows), ("rows not loaded", others, "0")]
    {
        let answer = lab.ask_database(&question).await?;
        if answer != expected {
            verdict.problems.push(format!("{what}: {answer}, not {expected}"));
        }
        if what == "members of the list" {
            verdict.accepted = answer.parse().context("a count")?;
        }
    }
    verdict.audience = u64::try_from(ROWS)?;
    verdict.arrived = verdict.accepted;
    verdict.lost = verdict.audience.saturating_sub(verdict.accepted);
    Ok(())
}

/// Waits until a fifth of the rows is in, and says which worker loads them.
async fn under_way(lab: &Lab, api: &Api, import: Import) -> Result<(usize, usize)> {
    let begun = Instant::now();
    loop {
        let seen = api.job(import.job_id).await?;
        if seen.is_over() {
            bail!("the job is {} before anything could be killed: {}", seen.state, seen.error);
        }
        let done = rows_in(lab, import.id).await?;
        if done >= ROWS / 5
            && let Some(worker) = lab.holder_of(import.job_id).await?
        {
            return Ok((worker, done));
        }
        if begun.elapsed() > PATIENCE {
            bail!("only {done} rows are in after {} s", PATIENCE.as_secs());
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Rows of the file that are committed.
async fn rows_in(lab: &Lab, import: Uuid) -> Result<usize> {
    lab.ask_database(&format!("SELECT records_done FROM imports WHERE id = '{import}'")).await?.parse().context("a count")
}
