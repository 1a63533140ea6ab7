//! As whom mail goes out, kept for a minute: parsing keys costs more than signing with them.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use shared::{
    PgPool,
    clock::Clock,
    error::Error,
    sending_domains::identity::{self, Identity},
    vault::Vault,
};
use uuid::Uuid;

/// A key that was taken out of service signs for so long at most; its record stays in DNS far longer.
const KEPT: Duration = Duration::from_secs(60);

/// Workspace and domain.
type Whose = (Uuid, String);

/// Identities of the last minute, by workspace and domain.
pub struct Identities {
    pool: PgPool,
    vault: Vault,
    clock: Clock,
    kept: Mutex<HashMap<Whose, (Instant, Arc<Identity>)>>,
}

impl Identities {
    /// None yet.
    #[must_use]
    pub fn new(pool: PgPool, vault: Vault, clock: Clock) -> Self {
        Self { pool, vault, clock, kept: Mutex::default() }
    }

    /// The identity of the domain of this address, which must be one that was parsed.
    ///
    /// # Errors
    /// A key cannot be used, or the database failed.
    pub async fn of(&self, workspace_id: Uuid, from_email: &str) -> Result<Arc<Identity>, Error> {
        let domain = from_email.rsplit_once('@').map_or(from_email, |(_, domain)| domain);
        let key = (workspace_id, domain.to_owned());
        if let Some((since, identity)) = self.kept.lock().get(&key)
            && since.elapsed() < KEPT
        {
            return Ok(identity.clone());
        }
        let identity = Arc::new(identity::find(&self.pool, &self.vault, &self.clock, workspace_id, domain).await?);
        let mut kept = self.kept.lock();
        kept.retain(|_, (since, _)| since.elapsed() < KEPT);
        kept.insert(key, (Instant::now(), identity.clone()));
        Ok(identity)
    }
}
