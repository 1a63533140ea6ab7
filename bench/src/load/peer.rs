//! The peer: `bench/peers/express-bull`, started and asked from here.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::{
    cpu::{self, Group},
    place::Place,
};
use crate::{
    client::sink::Sink,
    demo::{journey::float, template},
};

/// Worker processes of the peer: as many as of ours.
const WORKERS: usize = 2;

/// Where it is.
#[derive(clap::Args)]
pub struct Home {
    /// The peer's folder, with its packages installed.
    #[arg(long, env = "BENCH_PEER", hide = true)]
    folder: PathBuf,
    #[arg(long, env = "DATABASE_URL", hide = true)]
    database: String,
    #[arg(long, env = "REDIS_URL", hide = true)]
    redis: String,
}

/// A campaign of it.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Recipients whose mail the sink took, by the peer's rows.
    pub accepted: u64,
    /// From the request to the last row.
    pub seconds: f64,
    /// Accepted a second.
    pub per_second: f64,
    /// Processor seconds per 1,000 accepted messages, by process.
    pub cpu_seconds_per_1000: BTreeMap<String, f64>,
}

/// Its processes.
pub struct Peer {
    children: Vec<Child>,
    base: String,
    http: reqwest::Client,
    groups: Vec<Group>,
}

impl Peer {
    /// Starts the server and its workers.
    ///
    /// # Errors
    /// Node is missing, or the server does not answer.
    pub async fn start(home: &Home, place: &Place, concurrency: usize) -> Result<Self> {
        // The port is free now; nobody else on this machine looks for one in the same moment.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (host, smtp_port) = place.sink_smtp.rsplit_once(':').context("the sink's address has no port")?;
        let program = |file: &str| {
            Command::new("node")
                .arg(home.folder.join(file))
                .current_dir(&home.folder)
                .env("NODE_ENV", "production")
                .env("DATABASE_URL", &home.database)
                .env("REDIS_URL", &home.redis)
                .env("PORT", port.to_string())
                .env("SMTP_HOST", host)
                .env("SMTP_PORT", smtp_port)
                .env("CONCURRENCY", concurrency.to_string())
                .env("HTML", template::HTML)
                .env("SUBJECT", template::SUBJECT)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .with_context(|| format!("failed to start node {file}"))
        };
        let mut children = vec![program("server.js")?];
        let http = reqwest::Client::builder().timeout(Duration::from_secs(120)).no_proxy().build()?;
        let base = format!("http://127.0.0.1:{port}");
        let begun = Instant::now();
        while http.get(format!("{base}/health")).send().await.is_err() {
            if begun.elapsed().as_secs() > 20 || children[0].try_wait()?.is_some() {
                bail!("the peer's server does not answer at {base}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for _ in 0..WORKERS {
            children.push(program("worker.js")?);
        }
        let pids: Vec<u32> = children.iter().filter_map(Child::id).collect();
        let groups = vec![
            Group { name: "node", pids, with_children: false },
            Group { name: "postgres", pids: vec![place.postgres_pid], with_children: true },
            Group { name: "redis", pids: vec![place.redis_pid], with_children: false },
            Group { name: "sink", pids: vec![place.sink_pid], with_children: false },
        ];
        Ok(Self { children, base, http, groups })
    }

    /// Where a row is read by its primary key.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn job_address(&self) -> Result<String> {
        let made: Value = self.post("/jobs", &json!({})).await?;
        Ok(format!("{}/jobs/{}", self.base, made["id"].as_str().context("the peer's job has no id")?))
    }

    /// Its processes and those that work for it.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Makes `count` contacts.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn fill(&self, count: usize) -> Result<()> {
        self.post::<Value>("/contacts", &json!({"count": count})).await.map(drop)
    }

    /// Sends to the first `recipients` contacts.
    ///
    /// # Errors
    /// Not all of them are accepted within ten minutes.
    pub async fn send(&mut self, sink: &Sink, recipients: usize) -> Result<Run> {
        #[derive(Deserialize)]
        struct Campaign {
            id: String,
        }
        #[derive(Deserialize)]
        struct Counts {
            accepted: u64,
            failed: u64,
        }
        sink.reset().await?;
        let before = cpu::seconds(&self.groups);
        let begun = Instant::now();
        let campaign: Campaign = self.post("/campaigns", &json!({"recipients": recipients})).await?;
        let (counts, seconds) = loop {
            let counts: Counts = self.http.get(format!("{}/campaigns/{}", self.base, campaign.id)).send().await?.json().await?;
            if counts.accepted + counts.failed >= u64::try_from(recipients)? {
                break (counts, begun.elapsed().as_secs_f64());
            }
            for child in &mut self.children {
                if let Some(status) = child.try_wait()? {
                    bail!("a process of the peer ended with {status}");
                }
            }
            if begun.elapsed().as_secs() > 600 {
                bail!("the peer has sent {} of {recipients} after ten minutes", counts.accepted);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let after = cpu::seconds(&self.groups);
        let thousands = float(counts.accepted.max(1)) / 1000.0;
        Ok(Run {
            accepted: counts.accepted,
            seconds,
            per_second: float(counts.accepted) / seconds,
            cpu_seconds_per_1000: after
                .iter()
                .map(|(name, now)| ((*name).to_owned(), (now - before.get(name).unwrap_or(&0.0)) / thousands))
                .collect(),
        })
    }

    /// Ends it.
    ///
    /// # Errors
    /// A process cannot be killed.
    pub async fn stop(mut self) -> Result<()> {
        for child in &mut self.children {
            child.kill().await?;
        }
        Ok(())
    }

    async fn post<T: serde::de::DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        let response = self.http.post(format!("{}{path}", self.base)).json(body).send().await?;
        Ok(response.error_for_status().with_context(|| format!("the peer refused POST {path}"))?.json().await?)
    }
}
