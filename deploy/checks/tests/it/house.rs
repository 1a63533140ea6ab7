//! A stage, a sink, and real processes of this build.

use std::{process::Stdio, time::Duration};

use mochila_bench::sink::{Options, Sink};
use shared::testing::Stage;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::programs;

/// A database, a key prefix and a mail server.
pub struct House {
    pub stage: Stage,
    pub sink: Sink,
}

/// A server that has said where it listens.
pub struct Server {
    /// HTTP; empty for a worker.
    pub address: String,
    /// `/metrics` and `/health`.
    pub metrics: String,
    child: Child,
}

impl Server {
    /// `kill -9`, and waits for the end.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it ran");
    }

    /// The page that Prometheus would get.
    pub async fn scrape(&self) -> String {
        let url = format!("http://{}/metrics", self.metrics);
        reqwest::get(url).await.expect("an answer").text().await.expect("text")
    }
}

impl House {
    pub async fn new() -> Self {
        let stage = Stage::new().await;
        let sink = Sink::start(&Options::default()).await.expect("a sink");
        stage.route(sink.smtp.port()).await;
        Self { stage, sink }
    }

    pub async fn api(&self) -> Server {
        self.start("mochila-api").await
    }

    pub async fn worker(&self) -> Server {
        self.start("mochila-worker").await
    }

    /// A program with the settings of this house, quick where waiting would be long.
    pub fn program(&self, name: &str) -> Command {
        let settings = &self.stage.settings;
        let mut command = Command::new(programs::path(name));
        command
            .env_clear()
            .env("MOCHILA_DATABASE__URL", settings.database.url.expose())
            .env("MOCHILA_REDIS__URL", settings.redis.url.expose())
            .env("MOCHILA_REDIS__PREFIX", &settings.redis.prefix)
            .env("MOCHILA_STORE__URL", &settings.store.url)
            .env("MOCHILA_SECRETS__JWT_KEY", settings.secrets.jwt_key.expose())
            .env("MOCHILA_SECRETS__ENCRYPTION_KEY", settings.secrets.encryption_key.expose())
            .env("MOCHILA_SECRETS__LINK_KEY", settings.secrets.link_key.expose())
            .env("MOCHILA_API__LISTEN", "127.0.0.1:0")
            .env("MOCHILA_API__METRICS_LISTEN", "127.0.0.1:0")
            .env("MOCHILA_WORKER__METRICS_LISTEN", "127.0.0.1:0")
            .env("MOCHILA_QUEUE__LEASE_SECONDS", "4")
            .env("MOCHILA_QUEUE__HEARTBEAT_SECONDS", "1")
            .env("MOCHILA_QUEUE__STALE_SECONDS", "3")
            .env("MOCHILA_SENDING__RETRY__FIRST_SECONDS", "0.5")
            .env("MOCHILA_SENDING__SLOWDOWN__WINDOW_SECONDS", "1")
            .env("MOCHILA_SENDING__TIMEOUTS__FINAL_DOT", "1")
            .kill_on_drop(true);
        command
    }

    async fn start(&self, name: &str) -> Server {
        let mut child = self.program(name).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its log")).lines();
        loop {
            let line = lines.next_line().await.expect("text").unwrap_or_else(|| panic!("{name} ended before it listened"));
            let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            let Some(metrics) = said["metrics.listen"].as_str().map(str::to_owned) else { continue };
            let address = said["api.listen"].as_str().unwrap_or_default().to_owned();
            // Its log goes on, and must not fill the pipe.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Server { address, metrics, child };
        }
    }

    /// Waits until the question's answer is as wanted.
    pub async fn until(&self, id: uuid::Uuid, question: &'static str, wanted: impl Fn(i64) -> bool) {
        let mut last = 0;
        for _ in 0..1_200 {
            last = self.stage.number(question, id).await;
            if wanted(last) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not within a minute: {question}; {last}");
    }

    /// Waits until the campaign is closed.
    pub async fn until_finished(&self, campaign: uuid::Uuid) {
        self.until(campaign, "SELECT count(*) FROM campaigns WHERE id = $1 AND finished_at IS NULL", |open| open == 0).await;
    }
}
