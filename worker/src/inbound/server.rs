//! Accepts connections until the process ends.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use shared::{PgPool, settings::Settings, vault::Links};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    limits::Limits,
    session::{House, Session},
    tls::Certificates,
    wire::Wire,
};

/// How often the certificate's files are looked at.
const LOOK: Duration = Duration::from_secs(60);
/// How long sessions may go on once the process ends: those that are in the middle of a mail store it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running listener.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Listens at `listen`.
    ///
    /// # Errors
    /// The address cannot be had, or a setting cannot be used.
    pub async fn start(settings: &Settings, pool: PgPool, listen: &str) -> anyhow::Result<Self> {
        let inbound = &settings.inbound;
        let certificates = Certificates::from_settings(inbound).map_err(anyhow::Error::msg)?;
        let tls = certificates.as_ref().map(Certificates::acceptor).transpose().map_err(anyhow::Error::msg)?;
        let listener = TcpListener::bind(listen).await.with_context(|| format!("inbound.listen {listen}"))?;
        let address = listener.local_addr()?;
        let closing = CancellationToken::new();
        let name = match inbound.name.as_str() {
            "" => settings.api.public_url.host_str().unwrap_or("localhost").to_owned(),
            name => name.to_owned(),
        };
        let house = Arc::new(House {
            pool,
            links: Links::from_settings(settings).map_err(anyhow::Error::msg)?,
            reports: inbound.reports(),
            name,
            lmtp: inbound.lmtp,
            largest: inbound.max_message_bytes,
            idle: Duration::from_secs(inbound.idle_seconds),
            data: Duration::from_secs(inbound.data_seconds),
            limits: Limits::new(inbound.connections_per_address, inbound.mails_per_minute),
            tls,
            closing: closing.clone(),
        });
        let tasks = TaskTracker::new();
        if let Some(certificates) = certificates {
            let closing = closing.clone();
            tasks.spawn(async move {
                while tokio::time::timeout(LOOK, closing.cancelled()).await.is_err() {
                    certificates.reload();
                }
            });
        }
        tasks.spawn(accept(listener, house, Arc::new(Semaphore::new(inbound.max_connections)), tasks.clone()));
        tracing::info!(inbound.listen = %address, lmtp = inbound.lmtp, "bounces are taken");
        Ok(Self { address, closing, tasks })
    }

    /// Accepts nothing more, lets mails that are on the wire be stored, and goes.
    pub async fn stop(self) {
        self.closing.cancel();
        self.tasks.close();
        if tokio::time::timeout(PATIENCE, self.tasks.wait()).await.is_err() {
            tracing::warn!("sessions of the listener were cut off; who sent to them sends again");
        }
    }
}

async fn accept(listener: TcpListener, house: Arc<House>, seats: Arc<Semaphore>, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = house.closing.cancelled() => return,
        };
        let (stream, client) = match accepted {
            Ok((stream, client)) => (stream, client.ip()),
            Err(error) => {
                // Out of file descriptors, or the client is gone already.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let seat = seats.clone().try_acquire_owned().ok();
        if seat.is_none() || !house.limits.enter(client) {
            metrics::counter!("inbound_refused_total", "reason" => "connections").increment(1);
            tasks.spawn(refuse(stream));
            continue;
        }
        let house = house.clone();
        tasks.spawn(async move {
            let _seat = seat;
            let _ = stream.set_nodelay(true);
            if let Err(error) = Session::new(house.clone(), client).run(Wire::Plain(stream)).await {
                tracing::debug!(%error, "a session of the listener ended early");
            }
            house.limits.leave(client);
        });
    }
}

async fn refuse(mut stream: TcpStream) {
    let told = stream.write_all(b"421 4.7.0 too many connections\r\n");
    let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
}
