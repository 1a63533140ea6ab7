//! A worker, put together and taken apart.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use shared::{
    PgPool,
    clock::Clock,
    database,
    deliveries::bounce_rules,
    keyspace::Keyspace,
    queue::{lane::Lane, ticket::Tickets},
    settings::Settings,
    store::Store,
};
use tokio_util::sync::CancellationToken;

use crate::{
    bell, desk::Desk, heart::Heart, inbound::server::Server, lane, metrics as scrape, run::Stop, schedule, sending::Post, stages,
};

/// Where `--inbound` listens when the settings do not say.
const DEFAULT_INBOUND: &str = "0.0.0.0:2525";

/// Which lanes a process serves, with how many jobs at once.
///
/// # Errors
/// A name that is no lane.
pub fn slots(lanes: &str, settings: &Settings) -> Result<HashMap<Lane, usize>, String> {
    lanes
        .split(',')
        .filter(|name| !name.trim().is_empty())
        .map(|name| {
            let lane: Lane = name.parse()?;
            Ok((lane, settings.worker.slots.get(lane.name()).copied().unwrap_or(1).max(1)))
        })
        .collect()
}

/// A running worker.
pub struct Process {
    desk: Arc<Desk>,
    /// Ends the tasks that serve the runs, after the runs.
    over: CancellationToken,
    tasks: tokio_util::task::TaskTracker,
    drain: Duration,
}

impl Process {
    /// Starts everything. `pool` and `clock` are what jobs see; the heart and the bell have connections of their own.
    ///
    /// # Errors
    /// A setting cannot be used, or the schema is not the one that this build knows. While PostgreSQL is down it waits.
    pub async fn start(settings: Arc<Settings>, pool: PgPool, clock: Clock, lanes: &HashMap<Lane, usize>) -> anyhow::Result<Self> {
        database::wait_for_schema(&pool).await?;
        let keyspace = Keyspace::new(&settings.redis).context("redis.url")?;
        let tickets = Tickets::new(keyspace.clone());
        let store = Store::from_settings(&settings.store).map_err(|error| anyhow::anyhow!("store.url: {error}"))?;
        let over = CancellationToken::new();
        let tasks = tokio_util::task::TaskTracker::new();
        let post = Arc::new(Post::new(&pool, &settings, &keyspace, &clock, &over)?);
        post.guide.look().await?;
        post.wires.leases.begin(&pool).await;
        let heart = Arc::new(Heart::new(&settings.queue));
        let desk = Arc::new(Desk::new(pool.clone(), settings.clone(), clock.clone(), heart.clone(), post.clone(), lanes));

        let mut own = settings.database.clone();
        own.max_connections = 3;
        let own = database::pool(&own, "mochila-heart")?;
        tasks.spawn(heart.clone().run(own.clone(), settings.queue.clone(), lanes.clone(), over.clone()));
        tasks.spawn(post.guide.clone().run(over.clone()));
        tasks.spawn(post.health.clone().run(post.guide.clone(), post.wires.clone(), over.clone()));
        tasks.spawn(post.wires.leases.clone().run(over.clone()));
        tasks.spawn(post.shaper.rule_book.clone().run(pool.clone(), over.clone()));
        tasks.spawn({
            let (shaper, over) = (post.shaper.clone(), over.clone());
            async move { shaper.providers.run(|domains| shaper.forget(domains), over).await }
        });
        tasks.spawn({
            let (post, over) = (post.clone(), over.clone());
            async move { post.wires.run(over).await }
        });
        tasks.spawn({
            let (post, over) = (post.clone(), over.clone());
            async move {
                while !over.is_cancelled() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    post.shaper.limiter.tidy().await;
                }
            }
        });
        let mut served: Vec<Lane> = lanes.keys().copied().collect();
        served.sort_unstable();
        tasks.spawn(bell::run(own, tickets.clone(), settings.clone(), served.clone(), desk.closing.clone()));
        for lane in served {
            tasks.spawn(lane::serve(desk.clone(), keyspace.clone(), lane, lanes[&lane]));
        }
        let tools = schedule::Tools { pool: pool.clone(), settings: settings.clone(), tickets: tickets.clone(), store, clock };
        tasks.spawn(schedule::run(tools, desk.closing.clone()));
        tasks.close();
        tracing::info!(worker.id = %heart.worker_id, lanes = ?lanes, "the worker runs");
        Ok(Self { desk, over, tasks, drain: Duration::from_secs(settings.worker.drain_seconds) })
    }

    /// The desk, for what wants to look at it.
    #[must_use]
    pub fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Stops: claims nothing more, asks every run to end at its next checkpoint, waits for them until the deadline, records as in doubt
    /// what is still on the wire then, and goes.
    pub async fn stop(self) {
        tracing::info!(runs = self.desk.heart.count(), "draining");
        self.desk.closing.cancel();
        self.desk.heart.stop_all(Stop::Shutdown);
        self.desk.runs.close();
        if tokio::time::timeout(self.drain, self.desk.runs.wait()).await.is_err() {
            tracing::warn!(runs = self.desk.heart.count(), "the deadline is over: what is on the wire is in doubt");
            self.desk.post.abandon.cancel();
            let _ = tokio::time::timeout(Duration::from_secs(5), self.desk.runs.wait()).await;
        }
        self.over.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await;
        if let Err(error) = self.desk.post.wires.leases.leave().await {
            tracing::warn!(%error, "could not give back the leases of connections; they run out in 20 s");
        }
        tracing::info!("the worker is gone");
    }
}

/// Runs a worker until SIGTERM or SIGINT.
///
/// # Errors
/// It could not be started.
pub async fn run(settings: Settings, lanes: Option<String>, inbound: bool) -> anyhow::Result<()> {
    let settings = Arc::new(settings);
    let telemetry = shared::telemetry::init(&settings, "mochila-worker").map_err(anyhow::Error::msg)?;
    let recorder = shared::telemetry::recorder().map_err(anyhow::Error::msg)?;
    scrape::announce();
    if settings.worker.measure_stages {
        stages::measure();
    }
    let lanes = slots(lanes.as_deref().unwrap_or(&settings.worker.lanes), &settings).map_err(anyhow::Error::msg)?;
    tokio::task::spawn_blocking(bounce_rules::compile);
    let pool = database::pool(&settings.database, "mochila-worker")?;
    let keyspace = Keyspace::new(&settings.redis).context("redis.url")?;
    let listener = tokio::net::TcpListener::bind(&settings.worker.metrics_listen)
        .await
        .with_context(|| format!("worker.metrics_listen {}", settings.worker.metrics_listen))?;
    tracing::info!(metrics.listen = %listener.local_addr()?, "metrics and health are served");
    let scraper = tokio::spawn(scrape::serve(listener, recorder, pool.clone(), Tickets::new(keyspace), settings.clone()));
    let process = Process::start(settings.clone(), pool.clone(), Clock::system(), &lanes).await?;
    let listen = match settings.inbound.listen.as_str() {
        "" if inbound => Some(DEFAULT_INBOUND),
        "" => None,
        listen => Some(listen),
    };
    let server = match listen {
        Some(listen) => Some(Server::start(&settings, pool, listen).await?),
        None => None,
    };
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        result = tokio::signal::ctrl_c() => result?,
    }
    if let Some(server) = server {
        server.stop().await;
    }
    process.stop().await;
    scraper.abort();
    telemetry.flush().await;
    Ok(())
}
