//! Who runs a domain's mailboxes: by the domain's name at once, by its MX records once they are known. Whoever sends never waits for that:
//! until there is an answer the domain is a unit of its own, and what has expired holds until the next answer.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use parking_lot::{Mutex, RwLock};
use shared::{
    PgPool,
    deliveries::{
        mail_hosts::{self, Answer, Known},
        shaping::Rules,
    },
};
use tokio_util::sync::CancellationToken;

use crate::clients::dns::{self, Dns, MailExchanges};

const EVERY: Duration = Duration::from_millis(500);
/// Look-ups under way at the same time.
const AT_ONCE: usize = 16;
/// Domains of one round: what comes meanwhile waits for the next one.
const MOST: usize = 1_000;
/// An answer is good for so long, and a day's look-ups of a fleet fall into all of its hours.
const FRESH: Duration = Duration::from_secs(86_400);
/// No answer is asked for again after this.
const SOON: Duration = Duration::from_secs(300);

/// Who is asked.
#[async_trait]
pub trait MailHosts: Send + Sync {
    /// Where the mail of a domain goes; never longer than seconds.
    async fn of(&self, domain: &str) -> Answer;
}

#[async_trait]
impl MailHosts for Dns {
    async fn of(&self, domain: &str) -> Answer {
        match self.mx(domain).await {
            dns::Answer::Found(MailExchanges::Hosts(hosts)) => Answer::Hosts(hosts.into_iter().map(|one| one.host).collect()),
            dns::Answer::Found(MailExchanges::Null) => Answer::Refused,
            dns::Answer::NoRecords | dns::Answer::NoName => Answer::None,
            dns::Answer::Unknown(_) => Answer::Failed,
        }
    }
}

/// Names that mean nothing outside of a house (RFC 6761, RFC 2606).
fn is_private(domain: &str) -> bool {
    let last = domain.rsplit('.').next().unwrap_or_default();
    last.len() == domain.len() || matches!(last, "test" | "example" | "invalid" | "localhost")
}

struct Entry {
    hosts: Arc<[String]>,
    until: Instant,
}

/// What this process knows.
pub struct Providers {
    pool: PgPool,
    /// `None`: names alone tell.
    asked: Option<Arc<dyn MailHosts>>,
    /// Names that no public name server knows are asked about too.
    private: bool,
    known: RwLock<HashMap<String, Entry>>,
    wanted: Mutex<HashSet<String>>,
}

impl Providers {
    /// Knows nothing yet. `private`: the name servers are of the house, and know even names of RFC 6761 such as `.test`.
    #[must_use]
    pub fn new(pool: PgPool, asked: Option<Arc<dyn MailHosts>>, private: bool) -> Self {
        Self { pool, asked, private, known: RwLock::default(), wanted: Mutex::default() }
    }

    /// Who runs the domain's mailboxes, as far as is known now; what is not, or not any more, is looked up beside.
    pub fn of(&self, rules: &Rules, domain: &str) -> Option<Arc<str>> {
        if let Some(name) = rules.provider_by_name(domain) {
            return Some(name.clone());
        }
        if self.asked.is_none() || !self.private && is_private(domain) {
            return None;
        }
        let known = self.known.read();
        let entry = known.get(domain);
        if entry.is_none_or(|entry| entry.until <= Instant::now()) {
            self.wanted.lock().insert(domain.to_owned());
        }
        entry.and_then(|entry| rules.provider_by_hosts(&entry.hosts)).cloned()
    }

    /// Finds out about the domains that were asked for. Answers of which something new is known.
    pub async fn find_out(&self) -> Vec<String> {
        let Some(asked) = &self.asked else { return Vec::new() };
        let wanted: Vec<String> = {
            let mut wanted = self.wanted.lock();
            let some: Vec<String> = wanted.iter().take(MOST).cloned().collect();
            for domain in &some {
                wanted.remove(domain);
            }
            some
        };
        if wanted.is_empty() {
            return Vec::new();
        }
        let stored = match mail_hosts::known(&self.pool, &wanted).await {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!(%error, "could not look up mail hosts");
                self.wanted.lock().extend(wanted);
                return Vec::new();
            }
        };
        let mut changed = Vec::new();
        let mut missing: HashSet<String> = wanted.into_iter().collect();
        for Known { domain, mail_hosts, expired, expires_seconds } in stored {
            if !expired {
                missing.remove(&domain);
            }
            let fresh = Duration::try_from_secs_f64(expires_seconds).unwrap_or(SOON);
            self.learn(domain, mail_hosts, fresh, &mut changed);
        }
        let answers =
            stream::iter(missing).map(|domain| async move { (asked.of(&domain).await, domain) }).buffer_unordered(AT_ONCE);
        let mut answers = std::pin::pin!(answers);
        while let Some((answer, domain)) = answers.next().await {
            let fresh = if answer == Answer::Failed { SOON } else { FRESH.mul_f64(rand::random_range(0.75..1.25)) };
            if let Err(error) = mail_hosts::keep(&self.pool, &domain, &answer, fresh).await {
                tracing::warn!(%error, "could not keep mail hosts");
            }
            match answer {
                Answer::Hosts(hosts) => self.learn(domain, hosts, fresh, &mut changed),
                Answer::None | Answer::Refused => self.learn(domain, Vec::new(), fresh, &mut changed),
                Answer::Failed => self.keep_old(domain, fresh),
            }
        }
        changed
    }

    fn learn(&self, domain: String, hosts: Vec<String>, fresh: Duration, changed: &mut Vec<String>) {
        let entry = Entry { hosts: hosts.into(), until: Instant::now() + fresh };
        let mut known = self.known.write();
        if known.get(&domain).map_or(&[][..], |old| &old.hosts) != &*entry.hosts {
            changed.push(domain.clone());
        }
        known.insert(domain, entry);
    }

    fn keep_old(&self, domain: String, fresh: Duration) {
        let mut known = self.known.write();
        let entry = known.entry(domain).or_insert_with(|| Entry { hosts: Arc::new([]), until: Instant::now() });
        entry.until = Instant::now() + fresh;
    }

    /// Domains of which what is known has expired. They are forgotten by whoever remembers their provider, so that the next message asks.
    #[must_use]
    pub fn expired(&self) -> Vec<String> {
        let now = Instant::now();
        self.known.read().iter().filter(|(_, entry)| entry.until <= now).map(|(domain, _)| domain.clone()).collect()
    }

    /// Finds out until `over`; `forget` is told of what is new.
    pub async fn run(&self, forget: impl Fn(&[String]), over: CancellationToken) {
        if self.asked.is_none() {
            return;
        }
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut tidied = Instant::now();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = over.cancelled() => return,
            }
            let changed = tokio::select! {
                changed = self.find_out() => changed,
                () = over.cancelled() => return,
            };
            forget(&changed);
            if tidied.elapsed() >= Duration::from_secs(60) {
                tidied = Instant::now();
                forget(&self.expired());
            }
        }
    }
}
