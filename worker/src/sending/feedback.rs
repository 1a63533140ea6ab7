//! What the replies teach. They are counted by domain into the hour; by unit (a provider, or a domain of its own) they are judged in windows;
//! and adaptive rules that match one are told within a second.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use shared::{
    PgPool,
    deliveries::{
        destination::{self, Step, Window},
        hits,
        shaping::{Shape, adapt::Said, file::RuleScope},
    },
    settings::Slowdown,
};
use tokio_util::sync::CancellationToken;

use super::{shaper::Shaper, verdict::Judgement};

/// Adaptive rules hear so soon of what matched.
const HEARD_AFTER: Duration = Duration::from_secs(1);

/// The current window of every destination that answered.
#[derive(Clone)]
pub struct Feedback {
    inner: Arc<Inner>,
}

struct Inner {
    pool: PgPool,
    settings: Slowdown,
    shaper: Arc<Shaper>,
    windows: Mutex<BTreeMap<String, Noted>>,
    heard: Mutex<Heard>,
}

/// By scope and rule: how many replies, and the first of them.
type Heard = HashMap<(Arc<str>, Arc<str>), (u32, String)>;

/// One domain's window, and whose it is.
struct Noted {
    unit: Arc<str>,
    provider: Arc<str>,
    window: Window,
}

impl Feedback {
    /// Starts the tasks that judge, until `over`.
    #[must_use]
    pub fn start(pool: PgPool, settings: Slowdown, shaper: Arc<Shaper>, over: CancellationToken) -> Self {
        let window = Duration::from_secs(settings.window_seconds.max(1));
        let inner = Inner { pool, settings, shaper, windows: Mutex::default(), heard: Mutex::default() };
        let feedback = Self { inner: Arc::new(inner) };
        let judge = feedback.clone();
        tokio::spawn(async move {
            let (mut windows, mut hearings) = (tokio::time::interval(window), tokio::time::interval(HEARD_AFTER));
            loop {
                tokio::select! {
                    _ = windows.tick() => judge.close().await,
                    _ = hearings.tick() => judge.tell_rules().await,
                    () = over.cancelled() => {
                        judge.tell_rules().await;
                        return judge.close().await;
                    }
                }
            }
        });
        feedback
    }

    /// Notes a reply.
    pub fn note(&self, shape: &Shape, domain: &str, change: impl FnOnce(&mut Window)) {
        let mut windows = self.inner.windows.lock();
        if let Some(noted) = windows.get_mut(domain) {
            return change(&mut noted.window);
        }
        let mut noted = Noted { unit: shape.unit.clone(), provider: shape.provider.clone(), window: Window::default() };
        change(&mut noted.window);
        windows.insert(domain.to_owned(), noted);
    }

    /// Holds what a server said against the adaptive rules. What no server said has no code, and is none of theirs.
    pub fn hear(&self, shape: &Shape, domain: &str, judgement: &Judgement) {
        let Some(code) = judgement.smtp_code.and_then(|code| u16::try_from(code).ok()) else { return };
        let text = judgement.response.as_deref().unwrap_or_default();
        let said = Said { domain, provider: &shape.provider, code, enhanced: judgement.enhanced_code.as_deref(), text };
        let rules = self.inner.shaper.rule_book.rules();
        for rule in rules.matching(&said) {
            let scope = match rule.scope {
                RuleScope::Provider => shape.unit.clone(),
                RuleScope::Domain => domain.into(),
                RuleScope::Route => shape.way.clone(),
            };
            let mut heard = self.inner.heard.lock();
            let entry = heard.entry((scope, rule.name.clone())).or_default();
            entry.0 += 1;
            if entry.1.is_empty() {
                entry.1 = judgement.reply();
            }
        }
    }

    async fn tell_rules(&self) {
        let heard = std::mem::take(&mut *self.inner.heard.lock());
        let rules = self.inner.shaper.rule_book.rules();
        for ((scope, name), (hits, reply)) in heard {
            let Some(rule) = rules.adaptive(&name) else { continue };
            match hits::count(&self.inner.pool, &scope, rule, hits, &reply).await {
                Ok(false) => {}
                Ok(true) => {
                    let provider = scope.strip_prefix("provider:").and_then(|rest| rest.split(' ').next()).unwrap_or("other");
                    metrics::counter!("shaping_rules_total", "provider" => provider.to_owned()).increment(1);
                    tracing::warn!(%scope, rule = %name, seconds = rule.action.seconds, reply, "an adaptive rule acts");
                }
                Err(error) => {
                    tracing::warn!(%error, %scope, rule = %name, "could not count what an adaptive rule matched");
                    let mut again = self.inner.heard.lock();
                    let entry = again.entry((scope, name)).or_insert_with(|| (0, reply));
                    entry.0 += hits;
                }
            }
        }
    }

    async fn close(&self) {
        let noted = std::mem::take(&mut *self.inner.windows.lock());
        if noted.is_empty() {
            return;
        }
        let mut units: BTreeMap<Arc<str>, Window> = BTreeMap::new();
        let mut windows = BTreeMap::new();
        for (domain, Noted { unit, provider, window }) in noted {
            expose(&provider, &window);
            units.entry(unit).or_default().add(&window);
            windows.insert(domain, window);
        }
        let Inner { pool, settings, shaper, .. } = &*self.inner;
        if let Err(error) = destination::count(pool, &windows).await {
            tracing::warn!(%error, "could not count replies into the hour");
        }
        let states = shaper.states();
        for (unit, window) in &units {
            let step = destination::judge(window, states.get(&**unit), settings);
            match step {
                Step::Stay => continue,
                Step::Slow { rate, .. } => {
                    tracing::info!(scope = %unit, rate_per_second = rate, reply = window.last_reply, "slowing a destination down")
                }
                Step::Suspend => tracing::warn!(scope = %unit, reply = window.last_reply, "suspending a destination"),
                Step::Raise(_) | Step::Release => {}
            }
            if let Err(error) = destination::take(pool, unit, step, window.last_reply.as_deref(), settings).await {
                tracing::warn!(%error, scope = %unit, "could not write what the replies taught");
            }
        }
    }
}

/// Into the metrics, by provider: domains are too many for a label.
fn expose(provider: &str, window: &Window) {
    let kinds =
        [("accepted", window.accepted), ("throttled", window.throttled), ("deferred", window.deferred), ("failed", window.failed)];
    for (reply, count) in kinds {
        metrics::counter!("destination_replies_total", "provider" => provider.to_owned(), "reply" => reply)
            .increment(u64::from(count));
    }
}
