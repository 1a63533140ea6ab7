//! Which routes work. What this process sees opens a route's breaker at once here and, through PostgreSQL, everywhere within a second.
//! An open route is tried by one connection of one worker, beside all chunks: no slot waits for it.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use shared::{
    PgPool,
    routes::health::{self, Seen},
    settings,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    breaker::{Breaker, Event},
    guide::{Guide, Road},
    wires::Wires,
};

/// How often a carried message is worth a write.
const SUCCESS_EVERY: Duration = Duration::from_secs(5);

/// What is known of the routes.
pub struct Health {
    pool: PgPool,
    settings: settings::Breaker,
    known: Mutex<HashMap<Uuid, Known>>,
    news: Notify,
}

#[derive(Default)]
struct Known {
    breaker: Breaker,
    /// Not to be used; when it may be tried.
    open: Option<Instant>,
    /// Ends whoever is connecting when it opens.
    cut: CancellationToken,
    /// This process has opened it and has not told PostgreSQL yet.
    tripped: bool,
    seen: Seen,
    told: Option<Instant>,
}

impl Known {
    fn shut(&mut self, retry: Instant) {
        self.open = Some(retry);
        self.cut.cancel();
    }

    fn mend(&mut self) {
        if self.open.take().is_some() {
            self.cut = CancellationToken::new();
            self.breaker = Breaker::default();
        }
    }
}

impl Health {
    /// All are well.
    #[must_use]
    pub fn new(pool: PgPool, settings: settings::Breaker) -> Self {
        Self { pool, settings, known: Mutex::default(), news: Notify::new() }
    }

    /// Whether the route must not be used.
    #[must_use]
    pub fn is_open(&self, route: Uuid) -> bool {
        self.known.lock().get(&route).is_some_and(|known| known.open.is_some())
    }

    /// How long until an open route may be tried.
    #[must_use]
    pub fn wait(&self, route: Uuid) -> Option<Duration> {
        self.known.lock().get(&route)?.open.map(|retry| retry.saturating_duration_since(Instant::now()))
    }

    /// Cancelled as soon as the route is open.
    #[must_use]
    pub fn cut(&self, route: Uuid) -> CancellationToken {
        self.known.lock().entry(route).or_default().cut.clone()
    }

    /// Notes what happened to a route; `error` in its words, where it failed.
    pub fn note(&self, route: Uuid, event: Event, error: Option<&str>) {
        let mut routes = self.known.lock();
        let known = routes.entry(route).or_default();
        match event {
            Event::Opened => {}
            Event::Carried => known.seen.carried = true,
            Event::Failed => {
                known.seen.carried = false;
                known.seen.failures += 1;
                known.seen.error = error.map(str::to_owned);
            }
        }
        if known.open.is_none() && known.breaker.note(event, Instant::now(), &self.settings) {
            known.tripped = true;
            known.shut(Instant::now() + Duration::from_secs_f64(self.settings.pause_seconds));
            drop(routes);
            self.news.notify_one();
        }
    }

    /// Tells and asks PostgreSQL twice a second, and tries what is due, until `over`.
    pub async fn run(self: Arc<Self>, guide: Arc<Guide>, wires: Arc<Wires>, over: CancellationToken) {
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.news.notified() => {}
                () = over.cancelled() => return,
            }
            let roads = guide.roads();
            if let Err(error) = self.tell(&roads).await {
                tracing::warn!(%error, "could not write what is known of the routes");
            }
            match self.ask().await {
                Ok(due) => {
                    for road in roads.iter().filter(|road| due.contains(&road.id)) {
                        let (health, wires, road, over) = (self.clone(), wires.clone(), road.clone(), over.clone());
                        tokio::spawn(async move {
                            tokio::select! {
                                () = health.probe(&wires, &road) => {}
                                () = over.cancelled() => {}
                            }
                        });
                    }
                }
                Err(error) => tracing::warn!(%error, "could not look up which routes work"),
            }
            for road in roads.iter() {
                let open = if self.is_open(road.id) { 1.0 } else { 0.0 };
                metrics::gauge!("route_open", "route" => road.name.clone()).set(open);
            }
        }
    }

    /// Writes what was seen; what could not be written is written later.
    async fn tell(&self, roads: &[Arc<Road>]) -> shared::error::Result<()> {
        let now = Instant::now();
        let news: Vec<(Uuid, bool, Seen)> = {
            let mut routes = self.known.lock();
            let news = routes.iter_mut().filter_map(|(id, known)| {
                let due = known.told.is_none_or(|told| now.duration_since(told) >= SUCCESS_EVERY);
                let worth = known.tripped || known.seen.failures > 0 || (known.seen.carried && due);
                worth.then(|| {
                    known.told = Some(now);
                    (*id, known.tripped, std::mem::take(&mut known.seen))
                })
            });
            news.collect()
        };
        for (id, tripped, seen) in news {
            if tripped {
                let error = seen.error.as_deref().unwrap_or("its connections fail");
                let opened = health::open(&self.pool, id, error, &self.settings).await;
                if opened? {
                    let name = roads.iter().find(|road| road.id == id).map_or("", |road| road.name.as_str());
                    metrics::counter!("route_openings_total", "route" => name.to_owned()).increment(1);
                    tracing::warn!(route.id = %id, route.name = name, error, "a route does not work: nobody uses it until a try goes well");
                }
            }
            health::note(&self.pool, id, &seen).await?;
            if tripped && let Some(known) = self.known.lock().get_mut(&id) {
                known.tripped = false;
            }
        }
        Ok(())
    }

    /// Takes over what all workers know. Answers the routes that may be tried now.
    async fn ask(&self) -> shared::error::Result<Vec<Uuid>> {
        let broken = health::broken(&self.pool).await?;
        let now = Instant::now();
        let mut routes = self.known.lock();
        for known in broken.iter() {
            let retry = now + Duration::from_secs_f64(known.retry_seconds.clamp(0.0, 86_400.0));
            routes.entry(known.route_id).or_default().shut(retry);
        }
        for (id, known) in routes.iter_mut() {
            if !known.tripped && !broken.iter().any(|broken| broken.route_id == *id) {
                known.mend();
            }
        }
        Ok(broken.into_iter().filter(|broken| broken.retry_seconds <= 0.0).map(|broken| broken.route_id).collect())
    }

    async fn probe(&self, wires: &Wires, road: &Arc<Road>) {
        if let Err(error) = self.try_once(wires, road).await {
            tracing::warn!(%error, route.name = road.name, "could not write how the try of a route went");
        }
    }

    async fn try_once(&self, wires: &Wires, road: &Arc<Road>) -> shared::error::Result<()> {
        let Some(probe) = health::claim(&self.pool, road.id, &self.settings).await? else { return Ok(()) };
        match wires.check(road, Duration::from_secs_f64(self.settings.probe_seconds)).await {
            Ok(_) => {
                health::close(&self.pool, road.id).await?;
                tracing::info!(route.name = road.name, "a route works again");
            }
            Err(error) => {
                health::failed(&self.pool, probe, &error, &self.settings).await?;
                tracing::debug!(route.name = road.name, error, "a route does not work yet");
            }
        }
        self.news.notify_one();
        Ok(())
    }
}
