//! Where it is measured: `deploy/local bench` starts everything and says by the environment where it is.

use std::{collections::BTreeMap, path::PathBuf};

use super::{cpu::Group, figures::Conditions, machine::Machine};
use crate::client::{api::Login, metrics};

/// The stack.
#[derive(clap::Args)]
#[expect(missing_docs, reason = "the variables of deploy/local.d/stack.sh")]
pub struct Place {
    #[command(flatten)]
    pub login: Login,
    /// Where the figures are written.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Connections of a worker process.
    #[arg(long, env = "MOCHILA_SENDING__CONNECTIONS", hide = true)]
    pub connections: usize,
    #[arg(long, env = "SINK_SMTP", hide = true)]
    pub sink_smtp: String,
    #[arg(long, env = "SINK_HTTP", hide = true)]
    pub sink_http: String,
    #[arg(long, env = "API_PID", hide = true)]
    pub api_pid: u32,
    #[arg(long, env = "WORKER_PIDS", value_delimiter = ' ', hide = true)]
    pub worker_pids: Vec<u32>,
    #[arg(long, env = "WORKER_METRICS", value_delimiter = ' ', hide = true)]
    pub worker_metrics: Vec<String>,
    #[arg(long, env = "SINK_PID", hide = true)]
    pub sink_pid: u32,
    #[arg(long, env = "POSTGRES_PID", hide = true)]
    pub postgres_pid: u32,
    #[arg(long, env = "REDIS_PID", hide = true)]
    pub redis_pid: u32,
    #[arg(long, env = "BENCH_VERSIONS", default_value = "", hide = true)]
    pub versions: String,
}

impl Place {
    /// The processes of the stack, with `workers` in place of its own.
    #[must_use]
    pub fn groups(&self, workers: Vec<u32>) -> [Group; 5] {
        [
            Group { name: "api", pids: vec![self.api_pid], with_children: false },
            Group { name: "workers", pids: workers, with_children: false },
            Group { name: "postgres", pids: vec![self.postgres_pid], with_children: true },
            Group { name: "redis", pids: vec![self.redis_pid], with_children: false },
            Group { name: "sink", pids: vec![self.sink_pid], with_children: false },
        ]
    }

    /// What is told beside the figures of `bench`.
    #[must_use]
    pub fn conditions(&self, bench: &'static str, settings: String) -> Conditions {
        Conditions { bench, machine: Machine::here(), versions: self.versions.clone(), settings }
    }

    /// Outcomes that the workers have committed since they began.
    pub async fn outcomes_committed(&self) -> f64 {
        let mut sum = 0.0;
        for url in &self.worker_metrics {
            sum += metrics::by_label(&metrics::page(url).await, "ledger_rows_sum", "kind").get("outcome").copied().unwrap_or(0.0);
        }
        sum
    }

    /// Processor seconds of the workers by stage (`worker.measure_stages`) since they began; empty where it is not measured.
    pub async fn stage_seconds(&self) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for url in &self.worker_metrics {
            for (stage, nanoseconds) in metrics::by_label(&metrics::page(url).await, "stage_cpu_nanoseconds_total", "stage") {
                *sums.entry(stage).or_default() += nanoseconds / 1e9;
            }
        }
        sums
    }
}
