//! What the handlers share.

use std::{
    ops::Deref,
    sync::{Arc, PoisonError, RwLock},
};

use chrono::TimeDelta;
use shared::{
    PgPool,
    accounts::{
        log_in::Sessions,
        password::Passwords,
        session::{self, Callers},
        token::Tokens,
    },
    campaigns::progress::Counts,
    clock::Clock,
    database,
    keyspace::Keyspace,
    queue::{
        inspect::{self, Polled},
        lane::Lane,
        ticket::Tickets,
    },
    settings::Settings,
    store::Store,
    vault::{Links, Vault},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    amazon::{Amazon, Https},
    events::{Events, Rhythm},
    front::Front,
};

/// One per process; cheap to clone, which every layer does for every request.
#[derive(Clone)]
pub struct AppState(Arc<Parts>);

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// What the handlers share.
#[derive(Clone)]
pub struct Parts {
    /// PostgreSQL.
    pub pool: PgPool,
    /// As read at the start.
    pub settings: Arc<Settings>,
    /// Business time.
    pub clock: Clock,
    /// Uploaded files.
    pub store: Store,
    /// Log-in, tokens and passwords.
    pub sessions: Sessions,
    /// Who is calling.
    pub callers: Callers,
    /// Jobs that are polled.
    pub polled: Polled,
    /// Seals the credentials of routes.
    pub vault: Arc<Vault>,
    /// Checks the links in mails.
    pub links: Links,
    /// Rings for work.
    pub tickets: Tickets,
    /// Last counts of campaigns that are watched.
    pub counts: Counts,
    /// Whether PostgreSQL answers.
    pub database: DatabaseGate,
    /// What is watched.
    pub events: Arc<Events>,
    /// Cancelled when the process is asked to stop: streams end then.
    pub stopping: CancellationToken,
    /// What stands before the handlers.
    pub front: Arc<Front>,
    /// Whose certificates sign what SNS posts.
    pub amazon: Arc<Amazon>,
}

impl AppState {
    /// The same with other parts; those who have a clone of this one keep what they have.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Parts)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Puts the parts together. The schema counts as known until [`DatabaseGate::close`].
    ///
    /// # Errors
    /// A sentence that names the setting and the value.
    pub fn new(pool: PgPool, settings: Settings, clock: Clock) -> Result<Self, String> {
        let sessions = Sessions {
            tokens: Tokens::new(&settings, clock.clone())?,
            passwords: Passwords::new().map_err(|error| error.to_string())?,
            clock: clock.clone(),
            refresh_lifetime: TimeDelta::seconds(settings.auth.refresh_token_seconds),
        };
        let vault = Arc::new(Vault::from_settings(&settings.secrets)?);
        let links = Links::from_settings(&settings)?;
        let tickets = Tickets::new(Keyspace::new(&settings.redis).map_err(|error| format!("redis.url: {error}"))?);
        let store = Store::from_settings(&settings.store).map_err(|error| error.to_string())?;
        let front = Arc::new(Front::new(&settings, &clock)?);
        let amazon = Arc::new(Amazon::new(Arc::new(Https::new()?)));
        let lookups = database::beside(&pool);
        let events = Arc::new(Events::new(&pool, &clock, settings.limits.streams_per_user, Rhythm::default()));
        Ok(Self(Arc::new(Parts {
            callers: session::callers(&lookups),
            polled: inspect::polled(&lookups),
            pool,
            settings: Arc::new(settings),
            clock,
            store,
            sessions,
            vault,
            links,
            counts: Counts::default(),
            database: DatabaseGate::default(),
            tickets,
            front,
            amazon,
            events,
            stopping: CancellationToken::new(),
        })))
    }
}

impl AppState {
    /// Rings for a critical job after its commit, by its name.
    pub fn hint(&self, job_id: Uuid) {
        let tickets = self.tickets.clone();
        tokio::spawn(async move {
            if let Err(error) = tickets.hint(Lane::Critical, job_id).await {
                tracing::debug!(%error, "could not ring; the bell will");
            }
        });
    }

    /// Rings for a lane after a commit, without waiting: where Redis is away the bell of the workers rings later.
    pub fn ring(&self, lane: Lane) {
        let tickets = self.tickets.clone();
        tokio::spawn(async move {
            if let Err(error) = tickets.ring(lane, 1).await {
                tracing::debug!(%error, %lane, "could not ring; the bell will");
            }
        });
    }
}

/// Keeps requests out while PostgreSQL does not answer, or has not yet told which schema it has: they fail at once and not after the
/// pool's patience.
#[derive(Clone, Default)]
pub struct DatabaseGate {
    closed: Arc<RwLock<Option<String>>>,
}

impl DatabaseGate {
    /// No request passes from now on; the reason is for the log.
    pub fn close(&self, reason: impl Into<String>) {
        *self.closed.write().unwrap_or_else(PoisonError::into_inner) = Some(reason.into());
    }

    /// PostgreSQL answers, and its schema is the one that this build knows.
    pub fn open(&self) {
        *self.closed.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Why no request passes.
    #[must_use]
    pub fn closed(&self) -> Option<String> {
        self.closed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
