//! Samples a campaign's balance every half second, whatever happens meanwhile.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::client::{answers::Progress, api::Api};

/// A sampler in the background; ends when dropped.
pub struct Watch {
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    last: Mutex<Option<(Instant, Progress)>>,
    problems: Mutex<Vec<String>>,
    samples: Mutex<u32>,
    excused: AtomicBool,
}

/// Problems of one kind beyond this many say nothing new.
const TOLD: usize = 5;
const EVERY: Duration = Duration::from_millis(500);

impl Watch {
    /// Begins.
    #[must_use]
    pub fn over(api: Api, campaign: Uuid) -> Self {
        let seen = Arc::new(Seen::default());
        let task = tokio::spawn(sample(api, campaign, Arc::clone(&seen)));
        Self { seen, task }
    }

    /// From now on an unanswered question is no problem: the api or its database is down on purpose.
    pub fn excuse(&self, excused: bool) {
        self.seen.excused.store(excused, Ordering::Relaxed);
    }

    /// The last answer.
    #[must_use]
    pub fn last(&self) -> Progress {
        locked(&self.seen.last).as_ref().map(|(_, progress)| progress.clone()).unwrap_or_default()
    }

    /// Waits for an answer that was asked for after `moment` and of which `wanted` holds.
    ///
    /// # Errors
    /// None came within `patience`; `what` is in the message.
    pub async fn until(
        &self,
        moment: Instant,
        patience: Duration,
        what: &str,
        wanted: impl Fn(&Progress) -> bool,
    ) -> Result<Progress> {
        let begun = Instant::now();
        loop {
            let last = locked(&self.seen.last).clone();
            if let Some((at, progress)) = &last
                && *at > moment
                && wanted(progress)
            {
                return Ok(progress.clone());
            }
            if begun.elapsed() > patience {
                let seen = last.map(|(_, mut progress)| {
                    progress.destinations.clear();
                    progress
                });
                bail!("not {what} within {} s; last seen: {seen:?}", patience.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends it: how many samples there were, and what was wrong with them.
    #[must_use]
    pub fn end(self) -> (u32, Vec<String>) {
        self.task.abort();
        let mut problems = locked(&self.seen.problems).clone();
        if problems.len() > TOLD {
            let more = problems.len() - TOLD;
            problems.truncate(TOLD);
            problems.push(format!("and {more} samples more"));
        }
        (*locked(&self.seen.samples), problems)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn sample(api: Api, campaign: Uuid, seen: Arc<Seen>) {
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Excused before or after: the answer may have been under way when the fault struck or ended.
        let excused = seen.excused.load(Ordering::Relaxed);
        let asked = Instant::now();
        match api.progress(campaign).await {
            Ok(progress) => {
                *locked(&seen.samples) += 1;
                if !progress.balances() {
                    let text = format!(
                        "{:.1} s: out of balance: {:?} are {}, the audience is {:?}",
                        begun.elapsed().as_secs_f64(),
                        progress.counts(),
                        progress.sum(),
                        progress.audience
                    );
                    locked(&seen.problems).push(text);
                }
                *locked(&seen.last) = Some((asked, progress));
            }
            Err(error) if !excused && !seen.excused.load(Ordering::Relaxed) => {
                locked(&seen.problems).push(format!("{:.1} s: {error:#}", begun.elapsed().as_secs_f64()));
            }
            Err(_) => {}
        }
    }
}

/// What a poisoned lock guards here is a plain value, whole after every statement.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
