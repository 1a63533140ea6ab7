//! Processor time of a worker by stage of sending, for `deploy/local bench send`.
//!
//! A stage's time is what the threads spend in the polls of its futures, by the threads' own clocks, without that of stages inside it.
//! What no stage names (the runtime, timers, the sockets' readiness, the turn's own bookkeeping) is the rest of the process's time. Off
//! unless `worker.measure_stages` is set: each reading of a thread's clock is a system call.

use std::{
    cell::Cell,
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use rustix::time::{ClockId, clock_gettime};

/// What a worker does for a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Claims a chunk and loads its recipients.
    Claim,
    /// Makes the message.
    Render,
    /// Signs it.
    Sign,
    /// Speaks to the mail server.
    Smtp,
    /// Commits admissions and outcomes.
    Ledger,
}

const STAGES: [(Stage, &str); 5] =
    [(Stage::Claim, "claim"), (Stage::Render, "render"), (Stage::Sign, "sign"), (Stage::Smtp, "smtp"), (Stage::Ledger, "ledger")];

static MEASURED: AtomicBool = AtomicBool::new(false);
static NANOSECONDS: [AtomicU64; STAGES.len()] = [const { AtomicU64::new(0) }; STAGES.len()];

thread_local! {
    /// What stages inside the current one have spent.
    static INSIDE: Cell<u64> = const { Cell::new(0) };
}

/// Measures from now on, in the whole process.
pub fn measure() {
    MEASURED.store(true, Relaxed);
}

/// Counts the time until it is dropped; must not be held over an `await`.
#[must_use]
pub struct Timed {
    stage: Stage,
    begun: Option<u64>,
    outside: u64,
}

/// This thread does `stage` from now on.
pub fn enter(stage: Stage) -> Timed {
    if MEASURED.load(Relaxed) {
        Timed { stage, outside: INSIDE.replace(0), begun: Some(thread_nanoseconds()) }
    } else {
        Timed { stage, outside: 0, begun: None }
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        if let Some(begun) = self.begun {
            let spent = thread_nanoseconds().saturating_sub(begun);
            let inside = INSIDE.replace(self.outside + spent);
            NANOSECONDS[self.stage as usize].fetch_add(spent.saturating_sub(inside), Relaxed);
        }
    }
}

/// `work`, whose polls count as `stage`.
pub async fn of<F: Future>(stage: Stage, work: F) -> F::Output {
    let mut work = pin!(work);
    poll_fn(|context| {
        let _timed = enter(stage);
        work.as_mut().poll(context)
    })
    .await
}

/// Tells the metrics, if anything is measured.
pub fn export() {
    if MEASURED.load(Relaxed) {
        for (stage, name) in STAGES {
            metrics::counter!("stage_cpu_nanoseconds_total", "stage" => name).absolute(NANOSECONDS[stage as usize].load(Relaxed));
        }
    }
}

fn thread_nanoseconds() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spin(nanoseconds: u64) {
        let begun = thread_nanoseconds();
        while thread_nanoseconds() - begun < nanoseconds {}
    }

    #[test]
    fn the_time_of_a_stage_inside_another_counts_once() {
        measure();
        let spent = |stage: Stage| NANOSECONDS[stage as usize].load(Relaxed);
        let (claim, render) = (spent(Stage::Claim), spent(Stage::Render));
        let begun = thread_nanoseconds();
        {
            let _outer = enter(Stage::Claim);
            spin(1_000_000);
            let inner = enter(Stage::Render);
            spin(2_000_000);
            drop(inner);
        }
        let whole = thread_nanoseconds() - begun;
        let (claim, render) = (spent(Stage::Claim) - claim, spent(Stage::Render) - render);
        assert!(claim >= 1_000_000 && render >= 2_000_000 && claim + render <= whole, "{claim} + {render} of {whole}");
    }
}
