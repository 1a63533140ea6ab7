//! The parts, and how each is started and stopped. PostgreSQL and Redis belong to `deploy/local`, which is asked to restart them.

use std::{
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use tokio::process::Command;
use uuid::Uuid;

use super::process::{Process, Program};
use crate::client::{
    api::{Api, Login},
    metrics,
    sink::Sink,
};

/// What `deploy/local chaos` hands over in the environment.
#[derive(Clone, Parser)]
pub struct Surroundings {
    /// Folder of the programs.
    #[arg(long, env = "CHAOS_BIN")]
    pub programs: PathBuf,
    /// Folder of the logs.
    #[arg(long, env = "CHAOS_LOGS")]
    pub logs: PathBuf,
    /// Folder of the pid files.
    #[arg(long, env = "CHAOS_PIDS")]
    pub pids: PathBuf,
    /// Where the table goes as JSON.
    #[arg(long, env = "CHAOS_REPORT")]
    pub report: PathBuf,
    /// The script that restarts PostgreSQL and Redis.
    #[arg(long, env = "CHAOS_SERVER")]
    pub server: PathBuf,
    /// SMTP connections a worker may open.
    #[arg(long, env = "CHAOS_CONNECTIONS")]
    pub connections: u64,
    /// The psql program.
    #[arg(long, env = "CHAOS_PSQL")]
    pub psql: PathBuf,
    /// Where the two workers' metrics listen.
    #[arg(long, env = "CHAOS_WORKER_METRICS", value_delimiter = ' ')]
    pub worker_metrics: Vec<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented at the type")]
    pub login: Login,
    /// The database, for questions that the API does not answer.
    #[arg(long, env = "DATABASE_URL")]
    pub database_url: String,
    /// Redis.
    #[arg(long, env = "REDIS_URL")]
    pub redis_url: String,
    /// Where the sink takes mail.
    #[arg(long, env = "SINK_SMTP")]
    pub sink_smtp: String,
    /// Where it tells its counters.
    #[arg(long, env = "SINK_HTTP")]
    pub sink_http: String,
}

/// The parts while a scenario runs.
pub struct Lab {
    /// Addresses, folders, credentials.
    pub surroundings: Surroundings,
    /// The sink's counters.
    pub sink: Sink,
    /// Logs of the scenario that runs.
    logs: PathBuf,
    sink_process: Option<Process>,
    api_process: Option<Process>,
    workers: Vec<Option<Process>>,
}

/// How long a program may take until it answers.
const START: Duration = Duration::from_secs(30);
/// How long one may take to end: the drain of a worker is 25 s by default.
pub const STOP: Duration = Duration::from_secs(35);

impl Lab {
    /// Nothing runs yet.
    ///
    /// # Errors
    /// No HTTP client can be set up.
    pub fn new(surroundings: Surroundings) -> Result<Self> {
        let sink = Sink::at(&surroundings.sink_http)?;
        let workers = surroundings.worker_metrics.iter().map(|_| None).collect();
        Ok(Self { logs: surroundings.logs.clone(), surroundings, sink, sink_process: None, api_process: None, workers })
    }

    /// Starts everything afresh, with logs of its own, and logs in.
    ///
    /// # Errors
    /// A part does not start.
    pub async fn open(&mut self, scenario: &str) -> Result<Api> {
        self.close().await?;
        self.logs = self.surroundings.logs.join(scenario);
        if self.logs.exists() {
            std::fs::remove_dir_all(&self.logs)?;
        }
        std::fs::create_dir_all(&self.logs)?;
        let http = self.surroundings.sink_http.trim_start_matches("http://").to_owned();
        let smtp = self.surroundings.sink_smtp.clone();
        self.sink_process = Some(self.start_sink("sink", &smtp, &http)?);
        self.start_api().await?;
        for worker in 0..self.workers.len() {
            self.start_worker(worker).await?;
        }
        wait_for(START, "the sink", async || self.sink.stats().await.is_ok()).await?;
        Api::login(&self.surroundings.login).await
    }

    /// Starts a sink; what it takes is in `NAME.tsv` of [`Lab::logs`] before it says so.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start_sink(&self, name: &str, smtp: &str, http: &str) -> Result<Process> {
        let log = self.logs.join(format!("{name}.tsv"));
        let program = Program {
            name,
            path: self.surroundings.programs.join("mochila-sink"),
            arguments: ["--smtp", smtp, "--http", http, "--log", &log.to_string_lossy()].map(str::to_owned).to_vec(),
            environment: Vec::new(),
        };
        Process::start(program, &self.logs, &self.surroundings.pids)
    }

    /// A worker beside the lab's own, with its metrics on a free port. The caller stops it.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start_extra_worker(&self, name: &str) -> Result<Process> {
        let program = Program {
            name,
            path: self.surroundings.programs.join("mochila-worker"),
            arguments: Vec::new(),
            environment: vec![("MOCHILA_WORKER__METRICS_LISTEN", "127.0.0.1:0".to_owned())],
        };
        Process::start(program, &self.logs, &self.surroundings.pids)
    }

    /// Where the scenario that runs writes.
    #[must_use]
    pub fn logs(&self) -> &std::path::Path {
        &self.logs
    }

    /// Stops everything that runs, as an operator would.
    ///
    /// # Errors
    /// A part that should run has ended by itself, or did not stop.
    pub async fn close(&mut self) -> Result<()> {
        let mut first = Ok(());
        for slot in self.workers.iter_mut().chain([&mut self.api_process, &mut self.sink_process]) {
            let Some(mut process) = slot.take() else { continue };
            let ended = match process.must_run() {
                Ok(()) if process.name() == "sink" => process.kill().await,
                Ok(()) => process.terminate(STOP).await,
                Err(error) => Err(error),
            };
            first = first.and(ended);
        }
        first
    }

    /// Starts the api and waits until it is ready.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_api(&mut self) -> Result<()> {
        let program = Program {
            name: "api",
            path: self.surroundings.programs.join("mochila-api"),
            arguments: vec!["serve".to_owned()],
            environment: Vec::new(),
        };
        self.api_process = Some(Process::start(program, &self.logs, &self.surroundings.pids)?);
        let ready = format!("{}/ready", self.surroundings.login.url);
        wait_for(START, "the api", async || answers(&ready).await).await
    }

    /// Starts worker 0 or 1 and waits until its metrics answer.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_worker(&mut self, worker: usize) -> Result<()> {
        let address = self.surroundings.worker_metrics[worker].clone();
        let page = format!("http://{address}/metrics");
        let program = Program {
            name: &format!("worker-{}", worker + 1),
            path: self.surroundings.programs.join("mochila-worker"),
            arguments: Vec::new(),
            environment: vec![("MOCHILA_WORKER__METRICS_LISTEN", address)],
        };
        self.workers[worker] = Some(Process::start(program, &self.logs, &self.surroundings.pids)?);
        wait_for(START, "a worker", async || answers(&page).await).await
    }

    /// How many workers the lab has.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// A worker that runs.
    ///
    /// # Errors
    /// It does not run.
    pub fn worker(&self, worker: usize) -> Result<&Process> {
        self.workers[worker].as_ref().context("this worker does not run")
    }

    /// A worker that runs, handed over to be stopped.
    ///
    /// # Errors
    /// It does not run.
    pub fn take_worker(&mut self, worker: usize) -> Result<Process> {
        self.workers[worker].take().context("this worker does not run")
    }

    /// The api, handed over to be stopped.
    ///
    /// # Errors
    /// It does not run.
    pub fn take_api(&mut self) -> Result<Process> {
        self.api_process.take().context("the api does not run")
    }

    /// Connections that a worker has open now; the most that it may open if it cannot say.
    pub async fn open_connections(&self, worker: usize) -> u64 {
        let page = format!("http://{}/metrics", self.surroundings.worker_metrics[worker]);
        metrics::open_connections(&page).await.unwrap_or(self.surroundings.connections)
    }

    /// `start-redis`, `stop-redis`, `restart-postgres fast`, `restart-postgres immediate`.
    ///
    /// # Errors
    /// The script failed.
    pub async fn server(&self, words: &[&str]) -> Result<()> {
        let status = Command::new(&self.surroundings.server)
            .args(["server", "chaos"])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .await?;
        if !status.success() {
            bail!("{} ended with {status}", words.join(" "));
        }
        Ok(())
    }

    /// One value that the database answers.
    ///
    /// # Errors
    /// The question fails.
    pub async fn ask_database(&self, question: &str) -> Result<String> {
        let output = Command::new(&self.surroundings.psql)
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.surroundings.database_url, "-c", question])
            .stdin(Stdio::null())
            .output()
            .await?;
        if !output.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The worker that holds a job's lease; none if nobody does.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn holder_of(&self, job: Uuid) -> Result<Option<usize>> {
        let question = format!("SELECT w.pid FROM jobs j JOIN workers w ON w.id = j.lease_owner WHERE j.id = '{job}'");
        let pid = self.ask_database(&question).await?;
        Ok(self.workers.iter().position(|slot| slot.as_ref().and_then(Process::id).is_some_and(|id| id.to_string() == pid)))
    }
}

async fn answers(url: &str) -> bool {
    let Ok(http) = reqwest::Client::builder().timeout(Duration::from_secs(2)).no_proxy().build() else { return false };
    http.get(url).send().await.is_ok_and(|response| response.status().is_success())
}

/// Waits until `ready` says so.
///
/// # Errors
/// It did not within `patience`.
pub async fn wait_for(patience: Duration, what: &str, ready: impl AsyncFn() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !ready().await {
        if begun.elapsed() > patience {
            bail!("{what} does not answer after {} s", patience.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
