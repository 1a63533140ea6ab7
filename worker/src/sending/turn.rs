//! One turn of a chunk: its recipients over the wires that it gets, until all are done, its time is over, or something holds it back.
//! Whatever ends it, nobody is left between: who was not started waits, and every attempt has its outcome before the turn is over.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use shared::{
    campaigns::standing::Standing,
    deliveries::{
        chunk::{Chunk, Recipient},
        ledger::Postponed,
        shaping::Shape,
    },
    telemetry::traces,
};
use uuid::Uuid;

use super::{
    Post,
    composer::Composer,
    growth,
    guide::{Road, Watch},
    limiter::Take,
    sender,
    shaper::Shaped,
    wires::Wire,
};
use crate::run::{Context, Failure, Stop};

/// Recipients for which another connection is worth opening.
pub const RECIPIENTS_PER_WIRE: usize = 8;
/// A wait below this is waited out; a longer one gives the slot back.
pub(super) const SHORT_WAIT: Duration = Duration::from_millis(250);
/// What is admitted may still start for so long after the turn's time.
const OVERDUE: Duration = Duration::from_secs(1);
/// In a mixed chunk who must wait is postponed by so long at most: limits are lifted meanwhile.
const LONGEST_POSTPONEMENT: Duration = Duration::from_secs(900);
/// A chunk of a destination that is held looks again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// When a destination's connections are all taken by others.
const NO_SEAT: Duration = Duration::from_secs(2);
/// Routes that a message tries in a row before it is deferred.
const MOST_FAILOVERS: usize = 3;

/// Where a wire can go whose route has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailOver {
    /// To another route; it is turned to it.
    Diverted,
    /// There are other routes, and all their connections are taken.
    Full,
    /// There is no other route for this campaign, or enough were tried.
    Nowhere,
}

/// Why a turn ends before its chunk.
#[derive(Clone, Debug, PartialEq)]
pub enum Halt {
    /// The run has to end.
    Stopped(Stop),
    /// The campaign is paused or cancelled.
    CampaignStopped,
    /// An admission was refused: the lease, the campaign or the recipient is not what it was.
    Refused,
    /// The route fails.
    Route(String),
    /// Its time is over; the chunk comes round again.
    TimeOver,
    /// The route's or the destination's rate.
    Throttled(Duration),
    /// Redis does not answer: nothing takes tokens.
    Redis(String),
}

impl Halt {
    /// Whether even what is admitted must not be started.
    #[must_use]
    pub fn is_hard(&self) -> bool {
        !matches!(self, Self::TimeOver | Self::Throttled(_) | Self::Redis(_))
    }
}

/// What a turn shares among its senders.
pub struct Turn<'a> {
    /// The run.
    pub context: &'a Context,
    /// What sends.
    pub post: &'a Post,
    /// The chunk.
    pub chunk: &'a Chunk,
    /// The campaign.
    pub standing: &'a Standing,
    /// Its messages.
    pub composer: Composer,
    /// Whether each message has a span of its own: only in a trace that is sent, since there are thousands a second.
    pub traced: bool,
    queue: Mutex<VecDeque<Recipient>>,
    /// Who waits for a wire of this turn that may carry to the destination.
    aside: Mutex<Vec<(Arc<Shaped>, Recipient)>>,
    postponed: Mutex<Vec<Postponed>>,
    /// How many were postponed by destination: the later ones come later.
    lines: Mutex<HashMap<Arc<str>, u32>>,
    halt: Mutex<Option<Halt>>,
    begun: Instant,
    deadline: Instant,
    /// Recipients of the chunk with an outcome, and how many of them had it before this turn.
    done: AtomicI64,
    done_before: i64,
    /// The route of its wires, unless one was diverted.
    road: Mutex<Option<Arc<Road>>>,
    /// Wires that it has.
    wires: AtomicUsize,
    /// Whether a rate held somebody back: more wires would only wait.
    slowed: AtomicBool,
    _watch: Watch,
}

/// What the next recipient of the chunk is.
pub enum Next {
    /// This one, and it has its token.
    Recipient(Recipient, Arc<Shaped>),
    /// None: the chunk is done, or the turn is halted.
    Nobody,
}

impl<'a> Turn<'a> {
    /// A turn for these recipients.
    pub fn new(
        context: &'a Context,
        chunk: &'a Chunk,
        standing: &'a Standing,
        composer: Composer,
        recipients: Vec<Recipient>,
    ) -> Self {
        let (begun, done_before) = (Instant::now(), i64::from(chunk.size) - i64::try_from(recipients.len()).unwrap_or(0));
        Self {
            context,
            post: &context.post,
            chunk,
            standing,
            composer,
            traced: traces::is_sampled(),
            aside: Mutex::default(),
            postponed: Mutex::default(),
            lines: Mutex::default(),
            halt: Mutex::new(None),
            done: AtomicI64::new(done_before),
            done_before,
            road: Mutex::default(),
            wires: AtomicUsize::new(0),
            slowed: AtomicBool::new(false),
            queue: Mutex::new(recipients.into()),
            begun,
            deadline: begun + Duration::from_secs(context.settings.sending.turn_seconds),
            _watch: context.post.guide.watch(chunk.campaign_id),
        }
    }

    /// Sends over these wires, and others that are idle, until nobody is left or the turn is halted.
    pub async fn run(&self, wires: Vec<Wire>) {
        *self.road.lock() = wires.first().map(|wire| wire.road.clone());
        let (more, mut borrowed) = tokio::sync::mpsc::unbounded_channel();
        let mut senders: FuturesUnordered<_> = wires.into_iter().map(|wire| sender::run(self, wire)).collect();
        let others = async {
            tokio::select! {
                never = self.report() => match never {},
                never = growth::run(self, more) => match never {},
            }
        };
        tokio::pin!(others);
        while !senders.is_empty() {
            self.wires.store(senders.len(), Ordering::Relaxed);
            tokio::select! {
                _ = senders.next() => {}
                Some(wire) = borrowed.recv() => senders.push(sender::run(self, wire)),
                () = &mut others => {}
            }
        }
        // Borrowed just when the last one was done.
        while let Ok(wire) = borrowed.try_recv() {
            self.post.wires.put_back(wire);
        }
    }

    /// How many wires more, of which route, the turn would keep busy: none where a rate, the receiver or its limit of connections is what
    /// takes the time.
    pub(super) fn wants(&self) -> Option<(Arc<Road>, usize)> {
        let wires = self.wires.load(Ordering::Relaxed);
        let done = u32::try_from(self.done.load(Ordering::Relaxed) - self.done_before).unwrap_or(0);
        let enough = self.begun.elapsed().as_secs_f64() * f64::from(u32::try_from(wires).unwrap_or(u32::MAX));
        if self.slowed.load(Ordering::Relaxed) || self.halted().is_some() || f64::from(done) < enough {
            return None;
        }
        let more = self.left().div_ceil(RECIPIENTS_PER_WIRE).saturating_sub(wires);
        let road = self.road.lock().clone().filter(|road| more > 0 && !self.post.health.is_open(road.id))?;
        let limited = !self.is_mixed() && self.shaped(&road, &self.chunk.destination).shape.limits_connections();
        (!limited).then_some((road, more))
    }

    /// Stores progress every other second: a chunk that gets on is never taken for poison, however often its workers die.
    async fn report(&self) -> Infallible {
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let done = self.done.load(Ordering::Relaxed);
            if let Err(Failure::Stopped(stop)) = self.context.checkpoint(done, Some(i64::from(self.chunk.size))).await {
                self.halt(Halt::Stopped(stop));
            }
        }
    }

    /// One recipient more has an outcome.
    pub fn count_one(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Halts the turn; the first reason stays, but a hard one replaces a soft one.
    pub fn halt(&self, reason: Halt) {
        let mut halt = self.halt.lock();
        if halt.as_ref().is_none_or(|old| !old.is_hard() && reason.is_hard()) {
            *halt = Some(reason);
        }
    }

    /// Why the turn is halted, if it is; looks at everything that may halt it.
    pub fn halted(&self) -> Option<Halt> {
        if let Some(stop) = self.context.stop() {
            self.halt(Halt::Stopped(stop));
        } else if self.post.guide.is_stopped(self.chunk.campaign_id) {
            self.halt(Halt::CampaignStopped);
        } else if Instant::now() >= self.deadline {
            self.halt(Halt::TimeOver);
        }
        self.halt.lock().clone()
    }

    /// Whether its time is over for so long that not even what is admitted should be started: the wire is slow, and the slot is wanted.
    pub fn is_overdue(&self) -> bool {
        Instant::now() >= self.deadline + OVERDUE
    }

    /// Turns a wire whose route has failed to another one, at once. `tried` are the routes that this message, or this wire, has had.
    pub async fn fail_over(&self, wire: &mut Wire, tried: &mut Vec<Uuid>) -> FailOver {
        tried.push(wire.road.id);
        if self.standing.route_id.is_some() || tried.len() > MOST_FAILOVERS {
            return FailOver::Nowhere;
        }
        let roads = self.post.ways.open_to(None, tried);
        for road in &roads {
            match self.post.wires.divert(wire, road).await {
                Ok(true) => return FailOver::Diverted,
                Ok(false) => {}
                Err(error) => self.halt(Halt::Redis(error.to_string())),
            }
        }
        if roads.is_empty() { FailOver::Nowhere } else { FailOver::Full }
    }

    /// What holds for a message to this domain over this route.
    #[must_use]
    pub fn shaped(&self, road: &Road, domain: &str) -> Arc<Shaped> {
        self.post.shaper.of(road, self.standing.workspace_id, domain)
    }

    /// The next recipient that this wire may carry, with its token, or nobody.
    pub async fn next(&self, wire: &mut Wire) -> Next {
        loop {
            if self.halted().is_some() {
                return Next::Nobody;
            }
            let (recipient, shaped) = match self.seated(wire) {
                Some(found) => found,
                None => {
                    let Some(recipient) = self.queue.lock().pop_front() else { return Next::Nobody };
                    let shaped = self.shaped(&wire.road, &recipient.domain);
                    (recipient, shaped)
                }
            };
            let shape = &shaped.shape;
            if let Some(wait) = self.held(shape) {
                if self.is_mixed() {
                    self.postpone(recipient, shape, wait);
                    continue;
                }
                self.queue.lock().push_front(recipient);
                self.halt(Halt::Throttled(wait.min(LOOK_AGAIN)));
                return Next::Nobody;
            }
            if shape.limits_connections() {
                match self.post.wires.seat(wire, shape).await {
                    Ok(true) => {}
                    Ok(false) if self.is_mixed() => {
                        self.aside.lock().push((shaped, recipient));
                        continue;
                    }
                    Ok(false) => {
                        self.queue.lock().push_front(recipient);
                        return Next::Nobody;
                    }
                    Err(error) => {
                        self.queue.lock().push_front(recipient);
                        self.halt(Halt::Redis(error.to_string()));
                        return Next::Nobody;
                    }
                }
            }
            match self.post.shaper.limiter.take(&shaped.till).await {
                Ok(Take::Granted) => return Next::Recipient(recipient, shaped),
                Ok(Take::Refused { wait, by_destination: true }) if self.is_mixed() => self.postpone(recipient, shape, wait),
                Ok(Take::Refused { wait, .. }) => {
                    self.slowed.store(true, Ordering::Relaxed);
                    self.queue.lock().push_front(recipient);
                    if wait > SHORT_WAIT {
                        self.halt(Halt::Throttled(wait.min(LOOK_AGAIN)));
                        return Next::Nobody;
                    }
                    tokio::time::sleep(wait).await;
                }
                Err(error) => {
                    self.queue.lock().push_front(recipient);
                    self.halt(Halt::Redis(error.to_string()));
                    return Next::Nobody;
                }
            }
        }
    }

    /// Somebody who was put aside and whom this wire may carry.
    fn seated(&self, wire: &Wire) -> Option<(Recipient, Arc<Shaped>)> {
        if !self.is_mixed() || !wire.has_seats() {
            return None;
        }
        let mut aside = self.aside.lock();
        let fits = |shape: &Shape| {
            shape.levels.iter().filter(|level| level.connections.is_some()).all(|level| wire.has_seat(&level.scope))
        };
        let index = aside.iter().position(|(shaped, _)| fits(&shaped.shape))?;
        let (shaped, recipient) = aside.swap_remove(index);
        Some((recipient, shaped))
    }

    /// How long its destination is held, if it is.
    fn held(&self, shape: &Shape) -> Option<Duration> {
        let until = shape.held_until?;
        let wait = (until - self.context.clock.now()).to_std().unwrap_or_default();
        Some(wait.max(Duration::from_secs(1)))
    }

    fn is_mixed(&self) -> bool {
        self.chunk.destination.is_empty()
    }

    /// Not now: those of one destination come round one after the other, as fast as it takes them.
    fn postpone(&self, recipient: Recipient, shape: &Shape, wait: Duration) {
        let place = {
            let mut lines = self.lines.lock();
            let place = lines.entry(shape.unit.clone()).or_default();
            *place += 1;
            *place - 1
        };
        let apart = shape.allowed_per_second().map_or(0.0, |rate| f64::from(place) / rate);
        let wait = (wait + Duration::from_secs_f64(apart.min(LONGEST_POSTPONEMENT.as_secs_f64()))).min(LONGEST_POSTPONEMENT);
        let until = self.context.clock.now() + wait;
        let postponed = Postponed { contact_id: recipient.contact_id, recipient: recipient.email, domain: recipient.domain, until };
        self.postponed.lock().push(postponed);
    }

    /// Puts a recipient back that was not admitted.
    pub fn put_back(&self, recipient: Recipient) {
        self.queue.lock().push_front(recipient);
    }

    /// Recipients whose turn comes later.
    pub fn postponed(&self) -> Vec<Postponed> {
        for (shaped, recipient) in std::mem::take(&mut *self.aside.lock()) {
            self.postpone(recipient, &shaped.shape, NO_SEAT);
        }
        std::mem::take(&mut *self.postponed.lock())
    }

    /// Recipients that were not started.
    pub fn left(&self) -> usize {
        self.queue.lock().len()
    }
}
