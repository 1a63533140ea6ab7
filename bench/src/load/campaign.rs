//! One campaign, measured from the request to send it to its last outcome.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use serde::Serialize;
use uuid::Uuid;

use super::{
    cpu::{self, Group},
    memory,
    place::Place,
};
use crate::{
    client::{answers::Progress, api::Api, sink::Sink},
    demo::{journey::float, template},
};

/// Longer than any campaign of a bench may take.
const PATIENCE: Duration = Duration::from_secs(1800);

/// What it came to.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Recipients whose mail the sink took, by the ledger.
    pub accepted: u64,
    /// From the request to the commit of the last outcome, to about 20 ms.
    pub seconds: f64,
    /// From the request to the first mail at the sink, to about 10 ms.
    pub first_mail_seconds: f64,
    /// Accepted a second.
    pub per_second: f64,
    /// Recipients with another outcome.
    pub not_accepted: u64,
    /// Messages at the sink.
    pub arrived: u64,
    /// Those that came again.
    pub duplicates: u64,
    /// The most memory of a worker process.
    pub peak_worker_mib: f64,
    /// Processor seconds per 1,000 accepted messages, by process.
    pub cpu_seconds_per_1000: BTreeMap<String, f64>,
    /// The workers' part of it by stage, where `worker.measure_stages` is set.
    pub worker_cpu_seconds_per_1000: BTreeMap<String, f64>,
}

/// Whom to send to, and what to look at meanwhile.
pub struct Shot<'a> {
    /// The API.
    pub api: &'a Api,
    /// Where mails arrive.
    pub sink: &'a Sink,
    /// The stack.
    pub place: &'a Place,
    /// The recipients.
    pub list: Uuid,
    /// How many they are.
    pub recipients: u64,
    /// The way to the sink.
    pub route: Uuid,
    /// Worker processes.
    pub workers: Vec<u32>,
    /// The mail.
    pub html: &'a str,
}

impl Shot<'_> {
    /// Sends and measures.
    ///
    /// # Errors
    /// The campaign did not end in time, or a message came twice.
    pub async fn take(&self, name: &str) -> Result<Run> {
        let Self { api, sink, place, .. } = self;
        let groups: [Group; 5] = place.groups(self.workers.clone());
        let name = format!("{name} {}", Uuid::now_v7());
        let campaign = api.new_campaign(&name, self.list, self.route, template::SUBJECT, self.html).await?;
        sink.reset().await?;
        self.workers.iter().copied().for_each(memory::forget_peak);
        let (before, stages_before) = (cpu::seconds(&groups), place.stage_seconds().await);
        let committed_before = place.outcomes_committed().await;
        let begun = Instant::now();
        api.ask(campaign, "send").await?;
        while sink.stats().await?.received == 0 {
            if begun.elapsed().as_secs() > 60 {
                bail!("{name}: no mail within 60 s");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let first_mail_seconds = begun.elapsed().as_secs_f64();
        let seconds = self.until_the_last_outcome(campaign, begun, committed_before).await?;
        let (after, stages_after) = (cpu::seconds(&groups), place.stage_seconds().await);
        let progress = self.settled(campaign).await?;
        let arrived = sink.stats().await?;
        if arrived.duplicates > 0 {
            bail!("{name}: {} messages came twice", arrived.duplicates);
        }
        let thousands = float(progress.accepted.max(1)) / 1000.0;
        let spent = after.iter().map(|(name, now)| ((*name).to_owned(), (now - before.get(name).unwrap_or(&0.0)) / thousands));
        let stages = stages_after
            .into_iter()
            .map(|(stage, now)| (now - stages_before.get(&stage).unwrap_or(&0.0), stage))
            .map(|(spent, stage)| (stage, spent / thousands));
        Ok(Run {
            accepted: progress.accepted,
            seconds,
            first_mail_seconds,
            per_second: float(progress.accepted) / seconds,
            not_accepted: progress.settled() - progress.accepted,
            arrived: arrived.unique_message_ids,
            duplicates: arrived.duplicates,
            peak_worker_mib: self.workers.iter().map(|pid| memory::peak_mib(*pid)).fold(0.0, f64::max),
            cpu_seconds_per_1000: spent.collect(),
            worker_cpu_seconds_per_1000: stages.collect(),
        })
    }

    /// Seconds from `begun` to the commit of the last outcome. The workers say how many outcomes they have committed: a question to the
    /// API would count the ledger's rows, and may be answered from a count of some seconds ago.
    async fn until_the_last_outcome(&self, campaign: Uuid, begun: Instant, before: f64) -> Result<f64> {
        let mut asked = Instant::now();
        loop {
            let arrived = self.sink.stats().await?.received;
            if arrived >= self.recipients && self.place.outcomes_committed().await - before >= float(self.recipients) {
                return Ok(begun.elapsed().as_secs_f64());
            }
            // Where a recipient has another outcome or the workers are not known, the API tells the end.
            let unknown = self.place.worker_metrics.is_empty() && arrived >= self.recipients;
            if unknown || asked.elapsed() > Duration::from_secs(10) {
                if self.api.progress(campaign).await?.settled() >= self.recipients {
                    return Ok(begun.elapsed().as_secs_f64());
                }
                asked = Instant::now();
            }
            if begun.elapsed() > PATIENCE {
                bail!("the campaign is not finished after {} s, {arrived} messages arrived", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(if arrived >= self.recipients { 20 } else { 100 })).await;
        }
    }

    /// The balance, once everybody has an outcome in it.
    async fn settled(&self, campaign: Uuid) -> Result<Progress> {
        let asked = Instant::now();
        loop {
            let progress = self.api.progress(campaign).await?;
            if progress.settled() >= self.recipients {
                return Ok(progress);
            }
            if asked.elapsed().as_secs() > 60 {
                bail!("the campaign does not balance after its last outcome: {:?}", progress.counts());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
