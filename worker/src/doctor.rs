//! The doctor of a worker: what `shared` looks at, and a session with every relay, up to the point where a mail would begin.

use std::time::Duration;

use futures::future::join_all;
use shared::{
    PgPool,
    clock::Clock,
    database,
    operations::doctor::{self, Check, Needs, network},
    routes::usable,
    settings::{Settings, Timeouts},
    vault::Vault,
};

use crate::{
    clients::smtp::{Relay, Session},
    sending::{guide::Road, wires::hello_name},
};

/// Longest wait for a step of a session: nobody waits minutes at night.
const PATIENCE_SECONDS: u64 = 10;
/// Connections of a worker beside its pool: heart and bell, ledger.
const OWN_CONNECTIONS: u32 = 3 + 2;

/// Looks at everything that a worker stands on.
pub async fn examine(settings: &Settings, clock: &Clock) -> Vec<Check> {
    let database_connections = settings.database.max_connections + OWN_CONNECTIONS;
    let needs = Needs {
        database_connections,
        open_files: settings.sending.connections as u64 + u64::from(database_connections) + 100,
        listeners: &[("worker.metrics_listen", &settings.worker.metrics_listen)],
    };
    let mut checks = doctor::examine(settings, needs, clock).await;
    checks.extend(relays(settings).await);
    checks
}

/// Opens a session with every relay that may be taken: connection, greeting, EHLO, TLS, AUTH.
async fn relays(settings: &Settings) -> Vec<Check> {
    let vault = match Vault::from_settings(&settings.secrets) {
        Ok(vault) => vault,
        Err(error) => return vec![Check::fail("secrets", error, "correct [secrets] in the settings")],
    };
    let Ok(pool) = database::pool(&settings.database, "mochila-doctor") else { return Vec::new() };
    // Where PostgreSQL is away, another line says so.
    let Ok(routes) = usable::all(&pool, &vault).await else { return Vec::new() };
    let mut checks = vec![credentials(&pool, routes.len()).await];
    let looks = routes.into_iter().filter_map(Road::new).map(|road| async move { relay(settings, road).await });
    checks.extend(join_all(looks).await);
    checks
}

fn hurried(timeouts: &Timeouts) -> Timeouts {
    let most = |seconds: u64| seconds.min(PATIENCE_SECONDS);
    Timeouts {
        connect: most(timeouts.connect),
        greeting: most(timeouts.greeting),
        command: most(timeouts.command),
        data: most(timeouts.data),
        final_dot: most(timeouts.final_dot),
    }
}

async fn credentials(pool: &PgPool, usable: usize) -> Check {
    match usable::active(pool).await {
        Ok(0) => Check::warn("routes", "there is none that may be used", "POST /api/v1/routes"),
        Ok(active) if active > usable => {
            let says = format!("the credentials of {} of {active} do not open with our keys", active - usable);
            Check::fail("routes", says, "put the old key back into secrets.encryption_keys, or enter the passwords again")
        }
        Ok(active) => Check::ok("routes", format!("{active} may be used")),
        Err(error) => Check::fail("routes", error.to_string(), "look at PostgreSQL"),
    }
}

async fn relay(settings: &Settings, road: Road) -> Check {
    let name = format!("relay {}", road.name);
    let place = format!("{}:{}", road.host, road.port);
    if let Err(reason) = network::resolve(&road.host, road.port).await {
        return Check::fail(
            name,
            format!("{} does not resolve: {reason}", road.host),
            "correct the route's url, or its DNS record",
        );
    }
    let relay = Relay {
        host: road.host.clone(),
        port: road.port,
        tls: road.tls,
        username: road.username.clone(),
        password: road.password.clone(),
        hello_name: hello_name(settings),
        timeouts: hurried(&settings.sending.timeouts),
    };
    match tokio::time::timeout(Duration::from_secs(3 * PATIENCE_SECONDS), Session::open(&relay)).await {
        Ok(Ok(session)) => {
            session.quit().await;
            Check::ok(name, format!("{place} greets us{}", if road.username.is_some() { " and takes our credentials" } else { "" }))
        }
        Ok(Err(error)) => {
            Check::fail(name, format!("{place}: {error}"), "look at the relay, or correct the route: PATCH /api/v1/routes/ID")
        }
        Err(_) => Check::fail(name, format!("{place} does not get on with it"), "look at the relay"),
    }
}
