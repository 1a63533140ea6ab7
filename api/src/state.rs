//! What the handlers share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use chrono::TimeDelta;
use shared::{
    PgPool,
    accounts::{password::Passwords, session::Sessions, token::Tokens},
    clock::Clock,
    settings::Settings,
    store::Store,
    vault::{Links, Vault},
};

/// One per process; cheap to clone.
#[derive(Clone)]
pub struct AppState {
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
    /// Seals the credentials of routes.
    pub vault: Arc<Vault>,
    /// Checks the links in mails.
    pub links: Links,
    /// Whether the schema has been seen to be the one that this build knows.
    pub schema: SchemaGate,
}

impl AppState {
    /// Puts the parts together. The schema counts as known until [`SchemaGate::close`].
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
        let store = Store::from_settings(&settings.store).map_err(|error| error.to_string())?;
        Ok(Self { pool, settings: Arc::new(settings), clock, store, sessions, vault, links, schema: SchemaGate::default() })
    }
}

/// Keeps requests out while PostgreSQL has not yet told which schema it has.
#[derive(Clone, Default)]
pub struct SchemaGate {
    closed: Arc<AtomicBool>,
}

impl SchemaGate {
    /// No request passes from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// The schema is the one that this build knows.
    pub fn open(&self) {
        self.closed.store(false, Ordering::Release);
    }

    /// Whether requests may pass.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }
}
