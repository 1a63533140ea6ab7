//! The process: two listeners, waiting for PostgreSQL at the start, finishing requests at the end.

use std::time::Duration;

use anyhow::Context;
use axum::{Router, routing::get};
use shared::{
    clock::Clock,
    database::{self, SchemaError},
    queue::gauges,
    settings::Settings,
    telemetry::{self, PrometheusHandle},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{front::listener::Listener, router, state::AppState};

/// How long requests may take to finish once the process is asked to stop.
const DEADLINE: Duration = Duration::from_secs(20);
/// How often PostgreSQL is looked at, and how long it may take to answer.
const WATCH: Duration = Duration::from_millis(250);
const WATCH_PATIENCE: Duration = Duration::from_secs(1);
const UPKEEP: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT. While PostgreSQL is down, `/health` answers and everything else says 500.
///
/// # Errors
/// A setting is wrong, a port is taken, or the schema is not the one that this build knows.
pub async fn serve(settings: Settings) -> anyhow::Result<()> {
    let recorder = telemetry::recorder().map_err(anyhow::Error::msg)?;
    let pool = database::pool(&settings.database, "mochila-api").context("settings: database.url is malformed")?;
    let state = AppState::new(pool.clone(), settings, Clock::system()).map_err(anyhow::Error::msg)?;
    state.database.close("PostgreSQL has not answered since the start");

    let stop = state.stopping.clone();
    let front = Listener::bind(&state.settings.api).await?;
    let metrics = listen("api.metrics_listen", &state.settings.api.metrics_listen).await?;
    tracing::info!(api.listen = %front.address()?, api.tls = front.certificates().is_some(), metrics.listen = %metrics.local_addr()?, "listening");

    if let Some(certificates) = front.certificates() {
        tokio::spawn(certificates.watch());
    }
    let mut front = tokio::spawn(front.serve(router(state.clone()), stop.clone()));
    let mut metrics = tokio::spawn(accept(metrics, scraped(recorder.clone(), state.clone()), stop.clone()));
    let upkeep = tokio::spawn(keep_up(recorder));
    let schema = async {
        database::wait_for_schema(&pool).await?;
        state.database.open();
        tracing::info!("the schema is known, taking requests");
        watch(&state).await
    };
    let ended = tokio::select! {
        signal = asked_to_stop() => signal.context("signals"),
        unfit = schema => unfit.map_err(anyhow::Error::from),
        ended = &mut front => ended.context("the front"),
        ended = &mut metrics => ended.context("the metrics listener")?.context("the metrics listener"),
    };
    stop.cancel();
    upkeep.abort();
    if !front.is_finished() && tokio::time::timeout(DEADLINE, &mut front).await.is_err() {
        tracing::warn!(deadline_s = DEADLINE.as_secs(), "requests were cut off at the deadline");
    }
    tracing::info!("stopped");
    ended
}

async fn listen(setting: &str, address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {setting} {address:?}"))
}

async fn accept(listener: TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn scraped(recorder: PrometheusHandle, state: AppState) -> Router {
    let scrape = move || async move {
        if let Err(error) = gauges::export(&state.pool, &state.tickets, &state.settings.sending).await {
            tracing::warn!(error.full = %error, "a scrape could not ask for everything");
            metrics::counter!("scrape_errors_total").increment(1);
        }
        recorder.render()
    };
    metrics::counter!("scrape_errors_total").absolute(0);
    Router::new().route("/metrics", get(scrape)).route("/health", get(|| async { "ok\n" }))
}

async fn keep_up(recorder: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        recorder.run_upkeep();
    }
}

/// Opens and closes the gate as PostgreSQL comes and goes, over a connection of its own.
async fn watch(state: &AppState) -> Result<(), SchemaError> {
    let mut line = None;
    loop {
        let look = async {
            let connection = match &mut line {
                Some(connection) => connection,
                none => none.insert(database::connect(&state.settings.database, "mochila-api-watch").await?),
            };
            database::ping(connection).await
        };
        let seen = tokio::time::timeout(WATCH_PATIENCE, look)
            .await
            .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()));
        match (seen, state.database.closed()) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => {
                tracing::info!("PostgreSQL answers again");
                state.database.open();
            }
            (Err(error), closed) => {
                if closed.is_none() {
                    tracing::error!(error.full = %error, "PostgreSQL does not answer; requests fail until it does");
                }
                state.database.close(format!("PostgreSQL does not answer: {error}"));
                line = None;
            }
        }
        tokio::time::sleep(WATCH).await;
    }
}

async fn asked_to_stop() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(signal = name, deadline_s = DEADLINE.as_secs(), "stopping: finishing requests");
    Ok(())
}
