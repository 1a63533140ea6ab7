//! The doctor of a worker: what `shared` looks at, the name servers, and a session with every relay, up to the point where a mail would begin.

use std::time::Duration;

use futures::future::join_all;
use shared::{
    PgPool,
    clock::Clock,
    database,
    operations::doctor::{self, Check, Needs, network},
    routes::usable,
    sending_domains::sending_domain,
    settings::Settings,
    vault::Vault,
};

use crate::{
    clients::{
        dns::{Answer, Dns},
        smtp::{Relay, Session},
    },
    jobs::members::send_account_mail,
    sending::{
        guide::Road,
        wires::{hello_name, shortened},
    },
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
    checks.push(name_servers(settings).await);
    checks.push(of_account_mail(settings).await);
    checks.extend(relays(settings).await);
    checks
}

/// Asks for what a verification asks for first, and any name will do where no domain is known: that there is none is an answer too.
async fn name_servers(settings: &Settings) -> Check {
    let name = "dns.servers";
    let dns = match Dns::from_settings(&settings.dns) {
        Ok(dns) => dns,
        Err(error) => return Check::fail(name, error, "correct [dns] in the settings"),
    };
    let known = match database::pool(&settings.database, "mochila-doctor") {
        Ok(pool) => sending_domain::any(&pool).await.ok().flatten(),
        Err(_) => None,
    };
    let domain = known.or_else(|| settings.api.public_url.domain().map(str::to_owned)).unwrap_or_else(|| "example.com".to_owned());
    match dns.mx(&domain).await {
        Answer::Unknown(why) => Check::fail(
            name,
            format!("no answer for {domain}: {why}; no sending domain can be verified"),
            "correct dns.servers, or look at the name servers and the way to them",
        ),
        Answer::Found(_) | Answer::NoRecords | Answer::NoName => Check::ok(name, format!("answer for {domain}")),
    }
}

/// The relay of invitations and password resets.
async fn of_account_mail(settings: &Settings) -> Check {
    let name = "mail.relay_url";
    if !settings.mail.is_on() {
        let says = "is empty: no invitation and no password reset goes out";
        return Check::warn(name, says, "give mail.relay_url and mail.from");
    }
    match send_account_mail::relay(settings) {
        Ok(relay) => greet(name.to_owned(), relay, "correct mail.relay_url").await,
        Err(reason) => Check::fail(name, reason, "correct mail.relay_url"),
    }
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
    let looks = routes.into_iter().filter_map(Road::new).map(|road| async move { of_route(settings, road).await });
    checks.extend(join_all(looks).await);
    checks
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

async fn of_route(settings: &Settings, road: Road) -> Check {
    let relay = Relay {
        host: road.host,
        port: road.port,
        tls: road.tls,
        username: road.username,
        password: road.password,
        hello_name: hello_name(settings),
        timeouts: settings.sending.timeouts.clone(),
    };
    greet(format!("relay {}", road.name), relay, "correct the route: PATCH /api/v1/routes/ID").await
}

/// A session up to the point where a mail would begin; `mend` says where the relay's address stands.
async fn greet(name: String, relay: Relay, mend: &str) -> Check {
    let place = format!("{}:{}", relay.host, relay.port);
    if let Err(reason) = network::resolve(&relay.host, relay.port).await {
        let says = format!("{} does not resolve: {reason}", relay.host);
        return Check::fail(name, says, format!("{mend}, or the host's DNS record"));
    }
    let relay = Relay { timeouts: shortened(&relay.timeouts, PATIENCE_SECONDS), ..relay };
    match tokio::time::timeout(Duration::from_secs(3 * PATIENCE_SECONDS), Session::open(&relay)).await {
        Ok(Ok(session)) => {
            session.quit().await;
            Check::ok(
                name,
                format!("{place} greets us{}", if relay.username.is_some() { " and takes our credentials" } else { "" }),
            )
        }
        Ok(Err(error)) => Check::fail(name, format!("{place}: {error}"), format!("look at the relay, or {mend}")),
        Err(_) => Check::fail(name, format!("{place} does not get on with it"), "look at the relay"),
    }
}
