//! Connections to routes. A wire is a place for one connection: its lease, its window of unrecorded messages, and its session once it
//! is open. Wires that are put back with a usable session wait a few seconds for the next chunk.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use shared::{
    deliveries::shaping::Shape,
    routes::connections,
    settings::{Settings, Timeouts},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    breaker::Event,
    guide::Road,
    health::Health,
    leases::{Lease, Leases},
    room::Room,
};
use crate::clients::smtp::{OpenError, Relay, Session};

/// All connections of the process.
pub struct Wires {
    /// Leases over all processes.
    pub leases: Leases,
    /// Which routes were full a moment ago.
    pub room: Room,
    /// Connections that say goodbye.
    goodbyes: TaskTracker,
    places: Arc<Semaphore>,
    /// Of messages to one person: campaigns never get them.
    urgent_places: Arc<Semaphore>,
    /// Of a route's connections that campaigns leave to messages.
    reserved: u32,
    share: usize,
    look_ahead: usize,
    messages_per_connection: u32,
    idle: Duration,
    hello_name: String,
    timeouts: Timeouts,
    urgent_timeouts: Timeouts,
    waiting: Mutex<Waiting>,
    urgent_waiting: Mutex<Waiting>,
    /// Until when nothing is borrowed: a chunk did not get its share.
    short_until: Mutex<Option<Instant>>,
    health: Arc<Health>,
}

/// After a chunk did not get its share nothing is borrowed for so long: it comes again before.
const SHORT_FOR: Duration = Duration::from_secs(2);

/// Idle connections by route, with the moment since which they are.
type Waiting = HashMap<Uuid, Vec<(Instant, Kept)>>;

/// An idle connection. It keeps its place: it is open.
struct Kept {
    session: Session,
    open: Open,
    lease: Lease,
    place: OwnedSemaphorePermit,
    shares: Vec<Share>,
}

/// What a connection is to a destination: one of those that carry its mail, while it has a lease.
struct Share {
    scope: Arc<str>,
    lease: Option<Lease>,
    /// Sent over this connection.
    messages: u32,
}

impl Kept {
    async fn close(self) {
        self.session.quit().await;
        drop((self.open, self.lease, self.place, self.shares));
    }
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
    place: OwnedSemaphorePermit,
    /// Of a message: its place is one that campaigns do not get.
    urgent: bool,
    /// Beyond the share of its chunk.
    borrowed: bool,
    shares: Vec<Share>,
}

impl Wire {
    /// Whether it goes back when somebody is short of wires.
    #[must_use]
    pub fn is_borrowed(&self) -> bool {
        self.borrowed
    }

    /// Gives up the leases of destinations, but those of this shape.
    pub fn leave_seats(&mut self, but: Option<&Shape>) {
        for share in &mut self.shares {
            if !but.is_some_and(|shape| shape.levels.iter().any(|level| level.connections.is_some() && level.scope == share.scope))
            {
                share.lease = None;
            }
        }
    }

    /// Whether it may carry mail of this destination's level.
    #[must_use]
    pub fn has_seat(&self, scope: &str) -> bool {
        self.shares.iter().any(|share| &*share.scope == scope && share.lease.is_some())
    }

    /// Whether it may carry mail of any limited destination.
    #[must_use]
    pub fn has_seats(&self) -> bool {
        self.shares.iter().any(|share| share.lease.is_some())
    }

    fn share(&mut self, scope: &Arc<str>) -> &mut Share {
        let found = self.shares.iter().position(|share| share.scope == *scope);
        let index = found.unwrap_or_else(|| {
            self.shares.push(Share { scope: scope.clone(), lease: None, messages: 0 });
            self.shares.len() - 1
        });
        &mut self.shares[index]
    }

    /// Counts a message where the destination limits those of a connection.
    pub fn count(&mut self, shape: &Shape) {
        if shape.messages_per_connection.is_some() {
            self.share(&shape.unit).messages += 1;
        }
    }

    /// Whether the destination has had all that it takes over one connection.
    fn is_used_up(&self, shape: &Shape) -> bool {
        let Some(limit) = shape.messages_per_connection else { return false };
        self.shares.iter().any(|share| share.scope == shape.unit && share.messages >= limit)
    }
}

type Part = (Option<(Session, Open)>, Lease, Vec<Share>);

impl Wires {
    /// None yet.
    #[must_use]
    pub fn new(settings: &Settings, leases: Leases, health: Arc<Health>) -> Self {
        let sending = &settings.sending;
        let slots = settings.worker.slots.get("bulk").copied().unwrap_or(1).max(1);
        Self {
            leases,
            room: Room::default(),
            goodbyes: TaskTracker::new(),
            places: Arc::new(Semaphore::new(sending.connections)),
            urgent_places: Arc::new(Semaphore::new(sending.transactional.connections)),
            reserved: sending.transactional.reserved,
            share: (sending.connections / slots).max(1),
            look_ahead: sending.look_ahead,
            messages_per_connection: sending.messages_per_connection,
            idle: Duration::from_secs(sending.idle_seconds),
            hello_name: hello_name(settings),
            timeouts: sending.timeouts.clone(),
            urgent_timeouts: shortened(&sending.timeouts, sending.transactional.longest_step_seconds),
            waiting: Mutex::default(),
            urgent_waiting: Mutex::default(),
            short_until: Mutex::default(),
            health,
        }
    }

    /// Up to `wanted` wires for one chunk: no more than its share of the process's connections, and no more than the route has leases
    /// for. None: all are taken.
    ///
    /// # Errors
    /// Redis failed: no connection may be opened.
    pub async fn take(&self, road: &Arc<Road>, wanted: usize) -> Result<Vec<Wire>, redis::RedisError> {
        let wanted = wanted.min(self.share);
        let wires = self.gather(road, wanted, self.left_to_campaigns(road)).await?;
        self.room.found(road.id, !wires.is_empty());
        if wires.len() < wanted {
            *self.short_until.lock() = Some(Instant::now() + SHORT_FOR);
        }
        Ok(wires)
    }

    /// Up to `wanted` wires more for a chunk that has its share: of those that nobody has a use for, here and on the route. A share stays
    /// for who comes next.
    ///
    /// # Errors
    /// Redis failed: no connection may be opened.
    pub async fn borrow(&self, road: &Arc<Road>, wanted: usize) -> Result<Vec<Wire>, redis::RedisError> {
        if self.are_short() {
            return Ok(Vec::new());
        }
        let idle = self.waiting.lock().get(&road.id).map_or(0, Vec::len);
        let spare = (self.places.available_permits() + idle).saturating_sub(self.share);
        let kept = u32::try_from(self.share).unwrap_or(u32::MAX);
        let mut wires = self.gather(road, wanted.min(spare), self.left_to_campaigns(road).saturating_sub(kept)).await?;
        wires.iter_mut().for_each(|wire| wire.borrowed = true);
        Ok(wires)
    }

    /// Whether a chunk did not get its share a moment ago.
    #[must_use]
    pub fn are_short(&self) -> bool {
        self.short_until.lock().is_some_and(|until| Instant::now() < until)
    }

    /// Idle connections first, then places with leases of the route, of which campaigns have `limit`.
    async fn gather(&self, road: &Arc<Road>, wanted: usize, limit: u32) -> Result<Vec<Wire>, redis::RedisError> {
        let mut parts: Vec<(Part, OwnedSemaphorePermit)> = Vec::with_capacity(wanted);
        while parts.len() < wanted {
            let Some(kept) = self.waiting.lock().get_mut(&road.id).and_then(Vec::pop) else { break };
            let (_, kept) = kept;
            if self.leases.gives_up(&key(road), road.max_connections) {
                self.goodbyes.spawn(kept.close());
                continue;
            }
            let Kept { session, open, lease, place, shares } = kept;
            parts.push(((Some((session, open)), lease, shares), place));
        }
        let mut places = Vec::new();
        while parts.len() + places.len() < wanted {
            match self.places.clone().try_acquire_owned() {
                Ok(place) => places.push(place),
                Err(_) => match self.evict(&self.waiting, road.id) {
                    Some(place) => places.push(place),
                    None => break,
                },
            }
        }
        if !places.is_empty() {
            let leases = self.leases.take(&key(road), limit, places.len()).await?;
            parts.extend(leases.into_iter().zip(places).map(|(lease, place)| ((None, lease, Vec::new()), place)));
        }
        let wires = parts.into_iter().map(|((session, lease, shares), place)| Wire {
            road: road.clone(),
            window: Arc::new(Semaphore::new(self.look_ahead)),
            session,
            lease,
            place,
            urgent: false,
            borrowed: false,
            shares,
        });
        Ok(wires.collect())
    }

    /// A wire for one message: in a place that campaigns do not get, with a lease of those that they leave over, or else an idle one of
    /// theirs. None: all are taken.
    ///
    /// # Errors
    /// Redis failed: no connection may be opened.
    pub async fn take_urgent(&self, road: &Arc<Road>) -> Result<Option<Wire>, redis::RedisError> {
        if let Some((_, kept)) = self.urgent_waiting.lock().get_mut(&road.id).and_then(Vec::pop) {
            return Ok(Some(self.wire(road, kept, true)));
        }
        let place = self.urgent_places.clone().try_acquire_owned().ok().or_else(|| self.evict(&self.urgent_waiting, road.id));
        if let Some(place) = place
            && let Some(lease) = self.leases.take(&key(road), road.max_connections, 1).await?.pop()
        {
            let window = Arc::new(Semaphore::new(self.look_ahead));
            let (road, shares) = (road.clone(), Vec::new());
            return Ok(Some(Wire { road, window, session: None, lease, place, urgent: true, borrowed: false, shares }));
        }
        let idle = self.waiting.lock().get_mut(&road.id).and_then(Vec::pop);
        Ok(idle.map(|(_, kept)| self.wire(road, kept, false)))
    }

    fn wire(&self, road: &Arc<Road>, kept: Kept, urgent: bool) -> Wire {
        let Kept { session, open, lease, place, shares } = kept;
        let window = Arc::new(Semaphore::new(self.look_ahead));
        Wire { road: road.clone(), window, session: Some((session, open)), lease, place, urgent, borrowed: false, shares }
    }

    /// Connections of a route that campaigns may have, over all processes.
    fn left_to_campaigns(&self, road: &Road) -> u32 {
        road.max_connections - self.reserved.min(road.max_connections / 4)
    }

    /// Turns a wire to another route: its connection is given up, its place and its window stay. False: that route has no lease free.
    ///
    /// # Errors
    /// Redis failed: no connection may be opened.
    pub async fn divert(&self, wire: &mut Wire, road: &Arc<Road>) -> Result<bool, redis::RedisError> {
        let kept = self.waiting.lock().get_mut(&road.id).and_then(Vec::pop);
        let (session, lease) = match kept {
            Some((_, kept)) => (Some((kept.session, kept.open)), kept.lease),
            None => match self.leases.take(&key(road), self.left_to_campaigns(road), 1).await?.pop() {
                Some(lease) => (None, lease),
                None => return Ok(false),
            },
        };
        wire.session = session;
        wire.lease = lease;
        wire.road = road.clone();
        wire.shares.iter_mut().for_each(|share| share.messages = 0);
        metrics::counter!("route_failovers_total", "route" => road.name.clone()).increment(1);
        Ok(true)
    }

    /// Whether the route can be reached and takes our credentials: one session, opened and ended, within `limit`. Answers whether it is
    /// encrypted.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub async fn check(&self, road: &Arc<Road>, limit: Duration) -> Result<bool, String> {
        let lease = self.leases.take(&key(road), road.max_connections, 1).await;
        let lease = lease.map_err(|error| format!("redis: {error}"))?.pop();
        let Some(lease) = lease else { return Err("all connections of the route are taken".to_owned()) };
        let opened = tokio::time::timeout(limit, Session::open(&self.relay(road, false))).await;
        let session =
            opened.map_err(|_| format!("no session within {} s", limit.as_secs_f64()))?.map_err(|error| error.to_string())?;
        let encrypted = session.is_encrypted();
        session.quit().await;
        drop(lease);
        Ok(encrypted)
    }

    /// Lets the wire carry mail of this shape, if its destination has connections left. False: all are taken.
    ///
    /// # Errors
    /// Redis failed: no connection may be opened.
    pub async fn seat(&self, wire: &mut Wire, shape: &Shape) -> Result<bool, redis::RedisError> {
        for level in &shape.levels {
            let Some(limit) = level.connections else { continue };
            if wire.has_seat(&level.scope) {
                if self.leases.gives_up(&level.scope, limit) {
                    wire.share(&level.scope).lease = None;
                    return Ok(false);
                }
                continue;
            }
            let Some(lease) = self.leases.take_one(&level.scope, limit).await? else { return Ok(false) };
            wire.share(&level.scope).lease = Some(lease);
        }
        Ok(true)
    }

    /// Opens the wire's session unless it has one that can take another message, of this shape if one is given.
    ///
    /// # Errors
    /// The relay refused or cannot be reached; counts against the route.
    pub async fn open<'a>(&self, wire: &'a mut Wire, shape: Option<&Shape>) -> Result<&'a mut Session, OpenError> {
        let used_up = shape.is_some_and(|shape| wire.is_used_up(shape));
        let kept = match wire.session.take() {
            Some((session, _)) if session.is_usable() && (used_up || session.messages() >= self.messages_per_connection) => {
                self.goodbyes.spawn(session.quit());
                None
            }
            Some((mut session, open)) => (session.is_usable() && session.is_alive_hint()).then_some((session, open)),
            None => None,
        };
        let (session, open) = match kept {
            Some(kept) => kept,
            None => {
                wire.shares.iter_mut().for_each(|share| share.messages = 0);
                let cut = self.health.cut(wire.road.id);
                let relay = self.relay(&wire.road, wire.urgent);
                let opened = tokio::select! {
                    biased;
                    () = cut.cancelled() => return Err(OpenError::OutOfUse { host: relay.host }),
                    opened = Session::open(&relay) => opened,
                };
                match &opened {
                    Ok(_) => self.health.note(wire.road.id, Event::Opened, None),
                    Err(error) => self.health.note(wire.road.id, Event::Failed, Some(&error.to_string())),
                }
                let outcome = if opened.is_ok() { "opened" } else { "failed" };
                metrics::counter!("smtp_connects_total", "route" => wire.road.name.clone(), "outcome" => outcome).increment(1);
                (opened?, Open::new())
            }
        };
        Ok(&mut wire.session.insert((session, open)).0)
    }

    /// Puts a wire back. Its window must be empty by then. One that was borrowed is closed, so that other processes find its lease, unless
    /// it is this process that is short.
    pub fn put_back(&self, wire: Wire) {
        let Wire { road, session, lease, place, urgent, borrowed, shares, .. } = wire;
        let Some((session, open)) = session.filter(|(session, _)| session.is_usable()) else { return };
        let kept = Kept { session, open, lease, place, shares };
        if kept.session.messages() >= self.messages_per_connection || self.health.is_open(road.id) || borrowed && !self.are_short()
        {
            self.goodbyes.spawn(kept.close());
        } else {
            let waiting = if urgent { &self.urgent_waiting } else { &self.waiting };
            waiting.lock().entry(road.id).or_default().push((Instant::now(), kept));
            if !urgent {
                self.room.freed(road.id);
            }
        }
    }

    /// Closes connections that nobody used for a while, every second until `over`, and all of them then: it ends when all have said goodbye.
    pub async fn run(&self, over: CancellationToken) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            let last = tokio::select! {
                _ = ticks.tick() => false,
                () = over.cancelled() => true,
            };
            let mut closing = Vec::new();
            for waiting in [&self.waiting, &self.urgent_waiting] {
                for kept in waiting.lock().values_mut() {
                    let (old, young): (Vec<_>, Vec<_>) =
                        kept.drain(..).partition(|(since, _)| last || since.elapsed() >= self.idle);
                    *kept = young;
                    closing.extend(old);
                }
            }
            for (_, kept) in closing {
                self.goodbyes.spawn(kept.close());
            }
            if last {
                self.goodbyes.close();
                return self.goodbyes.wait().await;
            }
        }
    }

    /// The place of the connection to another route that has been idle for longest; it says goodbye while its successor connects.
    fn evict(&self, waiting: &Mutex<Waiting>, but: Uuid) -> Option<OwnedSemaphorePermit> {
        let mut waiting = waiting.lock();
        let oldest = waiting.iter().filter(|(id, kept)| **id != but && !kept.is_empty());
        let id = oldest.min_by_key(|(_, kept)| kept.first().map(|(since, _)| *since)).map(|(id, _)| *id)?;
        let (_, Kept { session, open, lease, place, shares }) = waiting.get_mut(&id)?.remove(0);
        self.goodbyes.spawn(async move {
            session.quit().await;
            drop((open, lease, shares));
        });
        Some(place)
    }

    fn relay(&self, road: &Road, urgent: bool) -> Relay {
        Relay {
            host: road.host.clone(),
            port: road.port,
            tls: road.tls,
            username: road.username.clone(),
            password: road.password.clone(),
            hello_name: self.hello_name.clone(),
            timeouts: if urgent { self.urgent_timeouts.clone() } else { self.timeouts.clone() },
        }
    }
}

/// No step takes longer than this: seconds.
#[must_use]
pub fn shortened(timeouts: &Timeouts, longest: u64) -> Timeouts {
    let Timeouts { connect, greeting, command, data, final_dot } = *timeouts;
    Timeouts {
        connect: connect.min(longest),
        greeting: greeting.min(longest),
        command: command.min(longest),
        data: data.min(longest),
        final_dot: final_dot.min(longest),
    }
}

/// What we call ourselves: the settings' name, or the host of our public address.
#[must_use]
pub fn hello_name(settings: &Settings) -> String {
    if !settings.sending.hello_name.is_empty() {
        return settings.sending.hello_name.clone();
    }
    match settings.api.public_url.host() {
        Some(url::Host::Domain(domain)) => domain.to_owned(),
        Some(url::Host::Ipv4(address)) => format!("[{address}]"),
        Some(url::Host::Ipv6(address)) => format!("[IPv6:{address}]"),
        None => "localhost".to_owned(),
    }
}

fn key(road: &Road) -> String {
    connections::scope(road.id)
}
