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
    client::{api::Api, sink::Sink},
    demo::{journey::float, template},
};

/// Longer than any campaign of a bench may take.
const PATIENCE_SECONDS: f64 = 1800.0;

/// What it came to.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Recipients whose mail the sink took, by the ledger.
    pub accepted: u64,
    /// From the request to the last outcome, as it was seen.
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
    /// The way to the sink.
    pub route: Uuid,
    /// Worker processes.
    pub workers: Vec<u32>,
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
        let campaign = api.new_campaign(&name, self.list, self.route, template::SUBJECT, template::HTML).await?;
        sink.reset().await?;
        self.workers.iter().copied().for_each(memory::forget_peak);
        let (before, stages_before) = (cpu::seconds(&groups), place.stage_seconds().await);
        let begun = Instant::now();
        api.ask(campaign, "send").await?;
        while sink.stats().await?.received == 0 {
            if begun.elapsed().as_secs() > 60 {
                bail!("{name}: no mail within 60 s");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let first_mail_seconds = begun.elapsed().as_secs_f64();
        // Asked rarely at first: the question itself costs the database something.
        let (progress, seconds) = loop {
            let progress = api.progress(campaign).await?;
            let seconds = begun.elapsed().as_secs_f64();
            let audience = progress.audience.unwrap_or(u64::MAX);
            if progress.settled() >= audience {
                break (progress, seconds);
            }
            if seconds > PATIENCE_SECONDS {
                bail!("{name} is not finished after {PATIENCE_SECONDS} s: {:?}", progress.counts());
            }
            // A question counts the ledger's rows: about as many seconds as it has tenths of millions.
            let far = (audience.min(1_000_000) / 400).max(1_000);
            let close = progress.settled() >= audience - audience / 10;
            tokio::time::sleep(Duration::from_millis(if close { 100 } else { far })).await;
        };
        let (after, stages_after) = (cpu::seconds(&groups), place.stage_seconds().await);
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
}
