//! Takes connections, speaks HTTP/1.1 and HTTP/2 over them, and lets them finish when the process is asked to stop.

use std::{io, pin::pin, sync::Arc, time::Duration};

use anyhow::Context;
use axum::{Router, body::Body, http::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use shared::settings;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::{idle::Idle, proxies::Peer, tls::Certificates};

/// A TLS handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Pause after the kernel refused a connection, such as for want of file descriptors.
const REFUSED: Duration = Duration::from_millis(200);
/// Requests of one HTTP/2 connection at once.
const MOST_STREAMS: u32 = 100;
/// Bytes of an HTTP/2 request's headers.
const MOST_HEADERS: u32 = 64 * 1024;

/// An open port.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    certificates: Option<Arc<Certificates>>,
    header: Duration,
    idle: Duration,
    seats: Arc<Semaphore>,
}

impl Listener {
    /// Opens `api.listen`.
    ///
    /// # Errors
    /// The address is taken, or the certificate is of no use.
    pub async fn bind(settings: &settings::Api) -> anyhow::Result<Self> {
        let certificates = Certificates::from_settings(&settings.tls).map_err(anyhow::Error::msg)?;
        let tls = certificates.as_ref().map(|certificates| certificates.config().map(TlsAcceptor::from)).transpose();
        let tcp = TcpListener::bind(&settings.listen).await;
        Ok(Self {
            tcp: tcp.with_context(|| format!("cannot listen on api.listen {:?}", settings.listen))?,
            tls: tls.map_err(anyhow::Error::msg)?,
            certificates,
            header: Duration::from_secs(settings.header_seconds),
            idle: Duration::from_secs(settings.idle_seconds),
            seats: Arc::new(Semaphore::new(settings.max_connections.clamp(1, Semaphore::MAX_PERMITS))),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The kernel does not know.
    pub fn address(&self) -> io::Result<std::net::SocketAddr> {
        self.tcp.local_addr()
    }

    /// The certificate, where it speaks TLS.
    #[must_use]
    pub fn certificates(&self) -> Option<Arc<Certificates>> {
        self.certificates.clone()
    }

    /// Serves until `stop`, then takes nothing new and returns when every request that is under way is answered.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let open = TaskTracker::new();
        loop {
            let accepted = async {
                // Beyond the seats, connections wait in the kernel's queue.
                let seat = self.seats.clone().acquire_owned().await.map_err(io::Error::other)?;
                self.tcp.accept().await.map(|accepted| (accepted, seat))
            };
            let accepted = tokio::select! {
                accepted = accepted => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok(((stream, address), seat)) => {
                    let peer = Peer { address, tls: self.tls.is_some() };
                    let line = Line { peer, header: self.header, router: router.clone(), stop: stop.clone(), _seat: seat };
                    open.spawn(line.open(stream, self.idle, self.tls.clone()));
                }
                Err(error) => {
                    tracing::warn!(error.full = %error, "a connection could not be taken");
                    tokio::time::sleep(REFUSED).await;
                }
            }
        }
        drop(self.tcp);
        open.close();
        open.wait().await;
    }
}

/// A connection.
struct Line {
    peer: Peer,
    header: Duration,
    router: Router,
    stop: CancellationToken,
    _seat: OwnedSemaphorePermit,
}

impl Line {
    async fn open(self, stream: TcpStream, idle: Duration, tls: Option<TlsAcceptor>) {
        // Answers are small and written at once; Nagle's algorithm would hold the last segment back.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(error.full = %error, "TCP_NODELAY is not to be had");
        }
        let stream = Idle::new(stream, idle);
        let Some(tls) = tls else { return self.speak(stream).await };
        let stop = self.stop.clone();
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(HANDSHAKE, tls.accept(stream)) => shaken,
            () = stop.cancelled() => return,
        };
        match shaken {
            Ok(Ok(stream)) => self.speak(stream).await,
            Ok(Err(error)) => tracing::debug!(error.full = %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { peer, header, router, stop, _seat } = self;
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1().timer(TokioTimer::new()).header_read_timeout(header);
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(header)
            .max_concurrent_streams(MOST_STREAMS)
            .max_header_list_size(MOST_HEADERS);
        let service = router.map_request(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            request
        });
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error.full = %error, "a connection ended early");
        }
    }
}
