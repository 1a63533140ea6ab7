//! The machinery that sends: shared by all chunks of a process.
//!
//! Read [`turn`] first: what one run of a chunk does, with a [`sender`] on each wire; [`verdict`] and [`schedule`] say what an answer means
//! for the recipient. They stand on [`ledger`] (admissions and outcomes of all connections, committed in
//! groups), [`wires`] (connections to routes), [`room`] (whether a claim may find any), [`growth`] (how a turn borrows idle ones), [`limiter`]
//! (tokens, in Redis), [`ways`] (which route), [`health`] and [`breaker`] (which routes work), [`identities`] (as whom mail goes out), [`leases`] (how many connections a route or a destination has over all processes),
//! [`gate`] (how many messages to one destination at once), [`guide`] (what holds now: routes,
//! stopped campaigns) and [`feedback`] (what the replies teach). How fast mail goes to whom is the [`shaper`]'s matter, by the rules in the
//! [`rule_book`] and by who runs the domain, which [`providers`] finds out.

pub mod breaker;
pub mod composer;
pub mod feedback;
pub mod gate;
pub mod growth;
pub mod guide;
pub mod health;
pub mod identities;
pub mod leases;
pub mod ledger;
pub mod limiter;
pub mod providers;
pub mod room;
pub mod rule_book;
pub mod schedule;
pub mod sender;
pub mod shaper;
pub mod turn;
pub mod verdict;
pub mod ways;
pub mod wires;

use std::sync::Arc;

use shared::{
    PgPool,
    clock::Clock,
    keyspace::Keyspace,
    settings::Settings,
    vault::{Links, Vault},
};
use tokio_util::sync::CancellationToken;

use crate::clients::dns::Dns;

/// What a process sends with.
pub struct Post {
    /// Admissions and outcomes.
    pub ledger: ledger::Ledger,
    /// Connections.
    pub wires: Arc<wires::Wires>,
    /// Which routes work.
    pub health: Arc<health::Health>,
    /// Which route a chunk takes.
    pub ways: ways::Ways,
    /// Messages to one destination at once.
    pub gate: gate::Gate,
    /// What holds for a message.
    pub shaper: Arc<shaper::Shaper>,
    /// What holds now.
    pub guide: Arc<guide::Guide>,
    /// What the replies teach.
    pub feedback: feedback::Feedback,
    /// Signed links.
    pub links: Links,
    /// As whom mail goes out.
    pub identities: identities::Identities,
    /// `sending.feedback_sender_id`.
    pub sender_id: String,
    /// Set at the shutdown deadline: what is on the wire then is in doubt.
    pub abandon: CancellationToken,
}

impl Post {
    /// Puts the parts together; their tasks end with `over`.
    ///
    /// # Errors
    /// A key of the settings cannot be used.
    pub fn new(
        pool: &PgPool,
        settings: &Arc<Settings>,
        keyspace: &Keyspace,
        clock: &Clock,
        over: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let vault = || Vault::from_settings(&settings.secrets).map_err(anyhow::Error::msg);
        let links = Links::from_settings(settings).map_err(anyhow::Error::msg)?;
        let asked = settings.sending.look_up_providers.then(|| Dns::from_settings(&settings.dns)).transpose();
        let asked = asked.map_err(anyhow::Error::msg)?.map(|dns| Arc::new(dns) as Arc<dyn providers::MailHosts>);
        let shaper = Arc::new(shaper::Shaper::new(
            rule_book::RuleBook::open(settings)?,
            providers::Providers::new(pool.clone(), asked, !settings.dns.servers.trim().is_empty()),
            limiter::Limiter::new(keyspace.clone(), pool.clone(), clock.clone()),
            settings.sending.retry.clone(),
            clock.clone(),
        ));
        let guide = Arc::new(guide::Guide::new(pool.clone(), vault()?).telling(shaper.clone()));
        let leases = leases::Leases::new(keyspace.clone());
        let health = Arc::new(health::Health::new(pool.clone(), settings.sending.breaker.clone()));
        Ok(Self {
            ledger: ledger::Ledger::start(settings.database.clone()),
            wires: Arc::new(wires::Wires::new(settings, leases, health.clone())),
            ways: ways::Ways::new(guide.clone(), health.clone()),
            health,
            gate: gate::Gate::default(),
            feedback: feedback::Feedback::start(pool.clone(), settings.sending.slowdown.clone(), shaper.clone(), over.clone()),
            shaper,
            guide,
            links,
            identities: identities::Identities::new(pool.clone(), vault()?, clock.clone()),
            sender_id: settings.sending.feedback_sender_id.clone(),
            abandon: CancellationToken::new(),
        })
    }
}
