//! What the replies teach: counted per destination in windows, judged at the end of each.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use shared::{
    PgPool,
    deliveries::{
        destination::{self, Step, Window},
        provider,
    },
    settings::Slowdown,
};
use tokio_util::sync::CancellationToken;

use super::guide::Guide;

/// The current window of every destination that answered.
#[derive(Clone)]
pub struct Feedback {
    windows: Arc<Mutex<BTreeMap<String, Window>>>,
}

impl Feedback {
    /// Starts the task that judges, until `over`.
    #[must_use]
    pub fn start(pool: PgPool, settings: Slowdown, guide: Arc<Guide>, over: CancellationToken) -> Self {
        let feedback = Self { windows: Arc::default() };
        let judge = feedback.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(settings.window_seconds.max(1)));
            loop {
                tokio::select! {
                    _ = ticks.tick() => judge.close(&pool, &settings, &guide).await,
                    () = over.cancelled() => return judge.close(&pool, &settings, &guide).await,
                }
            }
        });
        feedback
    }

    /// Notes a reply.
    pub fn note(&self, domain: &str, change: impl FnOnce(&mut Window)) {
        let mut windows = self.windows.lock();
        if let Some(window) = windows.get_mut(domain) {
            change(window);
        } else {
            change(windows.entry(domain.to_owned()).or_default());
        }
    }

    async fn close(&self, pool: &PgPool, settings: &Slowdown, guide: &Guide) {
        let windows = std::mem::take(&mut *self.windows.lock());
        if windows.is_empty() {
            return;
        }
        if let Err(error) = destination::count(pool, &windows).await {
            tracing::warn!(%error, "could not count replies into the hour");
        }
        let destinations = guide.destinations();
        for (domain, window) in &windows {
            expose(domain, window);
            let step = destination::judge(window, destinations.get(domain).and_then(|d| d.adaptive_rate), settings);
            match step {
                Step::Stay => continue,
                Step::Slow(rate) => {
                    tracing::info!(%domain, rate_per_second = rate, reply = window.last_reply, "slowing a destination down")
                }
                Step::Suspend => tracing::warn!(%domain, reply = window.last_reply, "suspending a destination"),
                Step::Raise(_) | Step::Release => {}
            }
            if let Err(error) = destination::take(pool, domain, step, window.last_reply.as_deref(), settings).await {
                tracing::warn!(%error, %domain, "could not write what the replies taught");
            }
        }
    }
}

/// Into the metrics, by provider: domains are too many for a label.
fn expose(domain: &str, window: &Window) {
    let provider = provider::of(domain);
    let kinds =
        [("accepted", window.accepted), ("throttled", window.throttled), ("deferred", window.deferred), ("failed", window.failed)];
    for (reply, count) in kinds {
        metrics::counter!("destination_replies_total", "provider" => provider, "reply" => reply).increment(u64::from(count));
    }
}
