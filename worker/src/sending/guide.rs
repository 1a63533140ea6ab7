//! What holds now, looked up once a second and not once a message: usable routes, stopped campaigns, and for the shaper destinations with
//! limits.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use shared::{
    PgPool,
    campaigns::standing,
    deliveries::destination,
    operations::sending::{self, Hold},
    routes::usable::{self, Usable},
    vault::Vault,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::shaper::Shaper;
use crate::clients::smtp::TlsMode;

/// A route, ready to be taken.
#[derive(Clone, Debug)]
pub struct Road {
    /// The route.
    pub id: Uuid,
    /// Its name, for metrics: routes are few.
    pub name: String,
    /// Where the relay listens.
    pub host: String,
    /// Where the relay listens.
    pub port: u16,
    /// How it is encrypted.
    pub tls: TlsMode,
    /// Credentials.
    pub username: Option<String>,
    /// Credentials.
    pub password: Option<shared::settings::Secret>,
    /// Over all processes.
    pub max_connections: u32,
    /// Over all processes; `None`: no limit.
    pub rate_per_second: Option<f64>,
    /// Share among the routes of campaigns that pin none.
    pub weight: u32,
}

impl Road {
    /// The route, unless it cannot be used.
    #[must_use]
    pub fn new(route: Usable) -> Option<Self> {
        let tls = route.tls.parse().inspect_err(|error| tracing::error!(route.name, error, "a route cannot be used")).ok()?;
        Some(Self {
            id: route.id,
            name: route.name,
            host: route.host,
            port: route.port,
            tls,
            username: route.username,
            password: route.password,
            max_connections: route.max_connections,
            rate_per_second: route.rate_per_second,
            weight: route.weight,
        })
    }
}

/// What holds now.
pub struct Guide {
    pool: PgPool,
    vault: Vault,
    shaper: Option<Arc<Shaper>>,
    roads: RwLock<Arc<Vec<Arc<Road>>>>,
    stopped: RwLock<Arc<HashSet<Uuid>>>,
    hold: RwLock<Option<Hold>>,
    watched: Mutex<HashMap<Uuid, usize>>,
}

impl Guide {
    /// Knows nothing until its first look.
    #[must_use]
    pub fn new(pool: PgPool, vault: Vault) -> Self {
        Self {
            pool,
            vault,
            shaper: None,
            roads: RwLock::default(),
            stopped: RwLock::default(),
            hold: RwLock::default(),
            watched: Mutex::default(),
        }
    }

    /// Tells this one of destinations and routes.
    #[must_use]
    pub fn telling(self, shaper: Arc<Shaper>) -> Self {
        Self { shaper: Some(shaper), ..self }
    }

    /// Routes that may be taken.
    #[must_use]
    pub fn roads(&self) -> Arc<Vec<Arc<Road>>> {
        self.roads.read().clone()
    }

    /// Whether the campaign must not start another message: it is stopped itself, or all sending is held.
    #[must_use]
    pub fn is_stopped(&self, campaign_id: Uuid) -> bool {
        self.hold.read().is_some() || self.stopped.read().contains(&campaign_id)
    }

    /// What holds all sending back, if anything does.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        *self.hold.read()
    }

    /// Watches a campaign while the answer lives.
    #[must_use]
    pub fn watch(self: &Arc<Self>, campaign_id: Uuid) -> Watch {
        *self.watched.lock().entry(campaign_id).or_insert(0) += 1;
        Watch { guide: self.clone(), campaign_id }
    }

    /// Looks.
    ///
    /// # Errors
    /// The database failed; what was known stays.
    pub async fn look(&self) -> Result<(), shared::error::Error> {
        let hold = sending::hold(&self.pool).await?;
        let before = std::mem::replace(&mut *self.hold.write(), hold);
        if before != hold {
            tell(hold);
        }
        let watched: Vec<Uuid> = self.watched.lock().keys().copied().collect();
        // Of those that nobody watches nothing is kept: a campaign that is resumed would seem stopped to every run until a look falls into one.
        let stopped = if watched.is_empty() { Vec::new() } else { standing::stopped(&self.pool, &watched).await? };
        *self.stopped.write() = Arc::new(stopped.into_iter().collect());
        let destinations = destination::all(&self.pool).await?;
        let roads = usable::all(&self.pool, &self.vault).await?;
        let roads: Arc<Vec<Arc<Road>>> = Arc::new(roads.into_iter().filter_map(Road::new).map(Arc::new).collect());
        *self.roads.write() = roads.clone();
        if let Some(shaper) = &self.shaper {
            shaper.look(destinations, &roads);
        }
        Ok(())
    }

    /// Looks once a second until `over`.
    pub async fn run(self: Arc<Self>, over: CancellationToken) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = over.cancelled() => return,
            }
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "could not look up routes, destinations and stopped campaigns");
            }
        }
    }
}

/// Once a change, and loudly where a person has to act.
fn tell(hold: Option<Hold>) {
    match hold {
        Some(Hold::Restored) => tracing::error!(
            "this database is a copy: a restored backup, a promoted standby or a moved cluster; nothing is sent until a person has made \
             sure that the original sends no more and runs mochila-worker confirm-restore"
        ),
        Some(Hold::Everything | Hold::Campaigns) => {
            tracing::warn!(?hold, "an operator has paused sending; mochila-worker resume-sending ends that");
        }
        None => tracing::info!("sending goes on"),
    }
}

/// Keeps a campaign watched.
pub struct Watch {
    guide: Arc<Guide>,
    campaign_id: Uuid,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = self.guide.watched.lock();
        if let Some(count) = watched.get_mut(&self.campaign_id) {
            *count -= 1;
            if *count == 0 {
                watched.remove(&self.campaign_id);
            }
        }
    }
}
