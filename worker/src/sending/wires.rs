//! Connections to routes. A wire is a place for one connection: its lease, its window of unrecorded messages, and its session once it
//! is open. Wires that are put back with a usable session wait a few seconds for the next chunk.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use shared::settings::{Settings, Timeouts};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    guide::Road,
    leases::{Lease, Leases},
};
use crate::clients::smtp::{OpenError, Relay, Session};

/// Failures in a row that close a route for a while.
const BREAKER: u32 = 5;

/// All connections of the process.
pub struct Wires {
    /// Leases over all processes.
    pub leases: Leases,
    places: Arc<Semaphore>,
    share: usize,
    look_ahead: usize,
    messages_per_connection: u32,
    idle: Duration,
    hello_name: String,
    timeouts: Timeouts,
    waiting: Mutex<HashMap<Uuid, Vec<(Instant, Kept)>>>,
    breakers: Mutex<HashMap<Uuid, Breaker>>,
}

struct Kept {
    session: Session,
    open: Open,
    lease: Lease,
}

#[derive(Default)]
struct Breaker {
    failures: u32,
    closed_until: Option<Instant>,
}

/// Counts an open connection while it lives.
struct Open;

impl Open {
    fn new() -> Self {
        metrics::gauge!("smtp_connections_open").increment(1.0);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("smtp_connections_open").decrement(1.0);
    }
}

/// A place for one connection to one route.
pub struct Wire {
    /// The route.
    pub road: Arc<Road>,
    /// Messages that were admitted here and whose outcome is not committed: what a crash leaves in doubt.
    pub window: Arc<Semaphore>,
    session: Option<(Session, Open)>,
    lease: Lease,
    _place: OwnedSemaphorePermit,
}

impl Wires {
    /// None yet.
    #[must_use]
    pub fn new(settings: &Settings, leases: Leases) -> Self {
        let sending = &settings.sending;
        let slots = settings.worker.slots.get("bulk").copied().unwrap_or(1).max(1);
        let hello_name = if sending.hello_name.is_empty() {
            match settings.api.public_url.host() {
                Some(url::Host::Domain(domain)) => domain.to_owned(),
                Some(url::Host::Ipv4(address)) => format!("[{address}]"),
                Some(url::Host::Ipv6(address)) => format!("[IPv6:{address}]"),
                None => "localhost".to_owned(),
            }
        } else {
            sending.hello_name.clone()
        };
        Self {
            leases,
            places: Arc::new(Semaphore::new(sending.connections)),
            share: (sending.connections / slots).max(1),
            look_ahead: sending.look_ahead,
            messages_per_connection: sending.messages_per_connection,
            idle: Duration::from_secs(sending.idle_seconds),
            hello_name,
            timeouts: sending.timeouts.clone(),
            waiting: Mutex::default(),
            breakers: Mutex::default(),
        }
    }

    /// Up to `wanted` wires for one chunk: no more than its share of the process's connections, and no more than the route has leases
    /// for. None: all are taken.
    ///
    /// # Errors
    /// Redis failed: no connection may be opened.
    pub async fn take(&self, road: &Arc<Road>, wanted: usize) -> Result<Vec<Wire>, redis::RedisError> {
        let mut places = Vec::new();
        while places.len() < wanted.min(self.share) {
            match self.places.clone().try_acquire_owned() {
                Ok(place) => places.push(place),
                Err(_) => break,
            }
        }
        let mut wires = Vec::with_capacity(places.len());
        {
            let mut waiting = self.waiting.lock();
            let kept = waiting.entry(road.id).or_default();
            while wires.len() < places.len() {
                let Some((_, kept)) = kept.pop() else { break };
                wires.push((Some((kept.session, kept.open)), kept.lease));
            }
        }
        let missing = places.len() - wires.len();
        if missing > 0 {
            let leases = self.leases.take(&format!("route:{}", road.id), road.max_connections, missing).await?;
            wires.extend(leases.into_iter().map(|lease| (None, lease)));
        }
        Ok(wires
            .into_iter()
            .zip(places)
            .map(|((session, lease), place)| Wire {
                road: road.clone(),
                window: Arc::new(Semaphore::new(self.look_ahead)),
                session,
                lease,
                _place: place,
            })
            .collect())
    }

    /// Opens the wire's session unless it has one that can take another message.
    ///
    /// # Errors
    /// The relay refused or cannot be reached; counts against the route.
    pub async fn open<'a>(&self, wire: &'a mut Wire) -> Result<&'a mut Session, OpenError> {
        let kept = match wire.session.take() {
            Some((session, _)) if session.is_usable() && session.messages() >= self.messages_per_connection => {
                tokio::spawn(session.quit());
                None
            }
            Some((mut session, open)) => (session.is_usable() && session.is_alive_hint()).then_some((session, open)),
            None => None,
        };
        let (session, open) = match kept {
            Some(kept) => kept,
            None => {
                let opened = Session::open(&self.relay(&wire.road)).await;
                self.note(wire.road.id, opened.is_ok());
                let outcome = if opened.is_ok() { "opened" } else { "failed" };
                metrics::counter!("smtp_connects_total", "route" => wire.road.name.clone(), "outcome" => outcome).increment(1);
                (opened?, Open::new())
            }
        };
        Ok(&mut wire.session.insert((session, open)).0)
    }

    /// Puts a wire back. Its window must be empty by then.
    pub fn put_back(&self, wire: Wire) {
        let Wire { road, session, lease, .. } = wire;
        if let Some((session, open)) = session {
            if !session.is_usable() {
                return;
            }
            if session.messages() >= self.messages_per_connection {
                tokio::spawn(async move {
                    session.quit().await;
                    drop((open, lease));
                });
            } else {
                self.waiting.lock().entry(road.id).or_default().push((Instant::now(), Kept { session, open, lease }));
            }
        }
    }

    /// Whether connections to this route fail one after another just now.
    #[must_use]
    pub fn is_broken(&self, road: Uuid) -> bool {
        self.breakers.lock().get(&road).and_then(|b| b.closed_until).is_some_and(|until| Instant::now() < until)
    }

    /// Somebody is going to try this route. If it was broken, everybody else waits for the answer: one slot is enough to find out.
    pub fn probe(&self, road: Uuid) {
        if let Some(breaker) = self.breakers.lock().get_mut(&road).filter(|breaker| breaker.failures >= BREAKER) {
            breaker.closed_until = Some(Instant::now() + Duration::from_secs(self.timeouts.connect));
        }
    }

    /// A failure or a success of the route as such.
    pub fn note(&self, road: Uuid, success: bool) {
        let mut breakers = self.breakers.lock();
        let breaker = breakers.entry(road).or_default();
        if success {
            *breaker = Breaker::default();
        } else {
            breaker.failures = breaker.failures.saturating_add(1);
            if breaker.failures >= BREAKER {
                let seconds = 1_u64 << (breaker.failures - BREAKER).min(5);
                breaker.closed_until = Some(Instant::now() + Duration::from_secs(seconds));
            }
        }
    }

    /// Closes connections that nobody used for a while, every second until `over`, and all of them then.
    pub async fn run(&self, over: CancellationToken) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            let last = tokio::select! {
                _ = ticks.tick() => false,
                () = over.cancelled() => true,
            };
            let mut closing = Vec::new();
            for kept in self.waiting.lock().values_mut() {
                let (old, young): (Vec<_>, Vec<_>) = kept.drain(..).partition(|(since, _)| last || since.elapsed() >= self.idle);
                *kept = young;
                closing.extend(old);
            }
            for (_, kept) in closing {
                tokio::spawn(async move {
                    kept.session.quit().await;
                    drop((kept.open, kept.lease));
                });
            }
            if last {
                return;
            }
        }
    }

    fn relay(&self, road: &Road) -> Relay {
        Relay {
            host: road.host.clone(),
            port: road.port,
            tls: road.tls,
            username: road.username.clone(),
            password: road.password.clone(),
            hello_name: self.hello_name.clone(),
            timeouts: self.timeouts.clone(),
        }
    }
}
