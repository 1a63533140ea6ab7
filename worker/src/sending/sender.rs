//! One wire's loop: admissions ahead, one message after another, outcomes behind. A message holds a permit of the wire's window from
//! before its admission until its outcome is committed, so that a crash leaves at most a window's worth in doubt per connection.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use shared::{
    campaigns::template,
    deliveries::{
        chunk::Recipient,
        ledger::{Admission, Admitted, Outcome, State},
        shaping::Shape,
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::Instrument;
use uuid::Uuid;

use super::{
    breaker::Event,
    composer::Letter,
    feedback::Feedback,
    guide::Road,
    health::Health,
    limiter::Take,
    shaper::Shaped,
    turn::{FailOver, Halt, Next, SHORT_WAIT, Turn},
    verdict::{Judgement, judge},
    wires::Wire,
};
use crate::{
    clients::smtp::Sent,
    stages::{self, Stage},
};

/// Kept connections in a row that turn out to be closed.
const STALE: usize = 3;

struct Ahead {
    recipient: Recipient,
    attempt_id: i64,
    /// The route whose token it has.
    route_id: Uuid,
    /// What holds for it on that route.
    shaped: Arc<Shaped>,
    answer: oneshot::Receiver<Option<Admitted>>,
    permit: OwnedSemaphorePermit,
}

/// Sends until nobody is left or the turn is halted, then waits until every outcome of this wire is committed.
pub async fn run(turn: &Turn<'_>, mut wire: Wire) {
    let window = wire.window.clone();
    let _at_work = turn.post.ledger.at_work();
    let size = u32::try_from(turn.context.settings.sending.look_ahead).unwrap_or(1);
    let mut ahead: VecDeque<Ahead> = VecDeque::new();
    let mut letter = Letter::default();
    // The connection comes first: nobody is admitted on a wire that cannot be opened.
    let mut more = turn.left() > 0 && begin(turn, &mut wire).await;
    loop {
        more &= !(wire.is_borrowed() && turn.post.wires.are_short());
        while more {
            let Ok(permit) = window.clone().try_acquire_owned() else { break };
            match turn.next(&mut wire).await {
                Next::Recipient(recipient, shaped) => ahead.push_back(ask(turn, &wire, recipient, shaped, permit)),
                Next::Nobody => more = false,
            }
        }
        let Some(next) = ahead.pop_front() else {
            if !more {
                break;
            }
            wait_for_room(&window).await;
            continue;
        };
        let admitted = next.answer.await.ok().flatten();
        let Some(admitted) = admitted else {
            // If an earlier try of the same admission was committed and its answer lost, its row is told that nothing was started.
            let released = released(turn, &wire, next.recipient.contact_id, next.attempt_id);
            turn.post.ledger.record(released, next.permit);
            turn.put_back(next.recipient);
            turn.halt(Halt::Refused);
            continue;
        };
        if !admitted.may_send() {
            count(&wire, "suppressed");
            continue;
        }
        let Ahead { recipient, attempt_id, route_id, shaped, permit, .. } = next;
        let attempt = Attempt { turn, recipient, attempt_id, paid: route_id, shaped, admitted, permit };
        more &= attempt.carry(&mut wire, &mut letter).await;
    }
    // Acquiring the whole window means that every outcome is committed.
    let _ = window.acquire_many(size).await;
    turn.post.wires.put_back(wire);
}

/// Opens the wire's session, over another route if its own has failed. False: it cannot be used.
async fn begin(turn: &Turn<'_>, wire: &mut Wire) -> bool {
    let mut tried = Vec::new();
    loop {
        let opened = tokio::select! {
            opened = turn.post.wires.open(wire, None) => opened.map(|_| ()),
            () = turn.post.abandon.cancelled() => return false,
        };
        let Err(error) = opened else { return true };
        match turn.fail_over(wire, &mut tried).await {
            FailOver::Diverted => {}
            FailOver::Full => return false,
            FailOver::Nowhere => {
                turn.halt(Halt::Route(error.to_string()));
                return false;
            }
        }
    }
}

async fn wait_for_room(window: &Arc<Semaphore>) {
    let _ = window.acquire().await;
}

fn ask(turn: &Turn<'_>, wire: &Wire, recipient: Recipient, shaped: Arc<Shaped>, permit: OwnedSemaphorePermit) -> Ahead {
    let attempt_id: i64 = rand::random();
    let answer = turn.post.ledger.admit(Admission {
        campaign_id: turn.chunk.campaign_id,
        contact_id: recipient.contact_id,
        chunk_id: turn.chunk.id,
        lease_epoch: turn.context.lease_epoch,
        attempt_id,
        recipient: recipient.email.clone(),
        domain: recipient.domain.clone(),
        route_id: wire.road.id,
    });
    Ahead { recipient, attempt_id, route_id: wire.road.id, shaped, answer, permit }
}

/// The attempt was never started: the recipient comes round again at once, and it does not count.
fn released(turn: &Turn<'_>, wire: &Wire, contact_id: Uuid, attempt_id: i64) -> Outcome {
    Outcome {
        campaign_id: turn.chunk.campaign_id,
        contact_id,
        attempt_id,
        route_id: wire.road.id,
        state: State::Deferred,
        released: true,
        smtp_code: None,
        enhanced_code: None,
        response: None,
        reason: Some("released"),
        delay_seconds: 0.0,
    }
}

fn count(wire: &Wire, outcome: &'static str) {
    metrics::counter!("deliveries_total", "route" => wire.road.name.clone(), "outcome" => outcome).increment(1);
}

struct Attempt<'a, 'b> {
    turn: &'a Turn<'b>,
    recipient: Recipient,
    attempt_id: i64,
    /// The route whose token it has.
    paid: Uuid,
    /// What holds for it on that route.
    shaped: Arc<Shaped>,
    admitted: Admitted,
    permit: OwnedSemaphorePermit,
}

impl Attempt<'_, '_> {
    /// Sends it, over another route where one fails before it has the message. False: the wire is of no more use.
    async fn carry(mut self, wire: &mut Wire, letter: &mut Letter) -> bool {
        if let Err(error) = self.compose(letter) {
            count(wire, "failed");
            tracing::warn!(campaign.id = %self.turn.chunk.campaign_id, contact.id = %self.recipient.contact_id, error, "a message cannot be rendered");
            let outcome = Outcome { response: Some(error), ..self.outcome(wire, State::Failed, Some("rendering")) };
            self.turn.post.ledger.record(outcome, self.permit);
            return true;
        }
        let mut tried = Vec::new();
        let mut stale = 0;
        let mut lives = true;
        loop {
            if self.must_wait() {
                break;
            }
            if let Some(wait) = self.pay(wire).await {
                return self.release(wire, wait, lives);
            }
            let span = if self.turn.traced {
                tracing::info_span!("smtp.send", route = wire.road.name, attempt = self.admitted.attempts)
            } else {
                tracing::Span::none()
            };
            let opened = tokio::select! {
                opened = stages::of(Stage::Smtp, self.turn.post.wires.open(wire, Some(&self.shaped.shape))) => opened,
                () = self.turn.post.abandon.cancelled() => break,
            };
            let session = match opened {
                Ok(session) => session,
                Err(error) => match self.turn.fail_over(wire, &mut tried).await {
                    FailOver::Diverted => continue,
                    failed => {
                        lives = false;
                        if failed == FailOver::Nowhere {
                            self.turn.halt(Halt::Route(error.to_string()));
                        }
                        break;
                    }
                },
            };
            // Opening may have taken long.
            if self.must_wait() {
                break;
            }
            let begun = Instant::now();
            let sending = session.send(&letter.from, &self.recipient.email, &letter.bytes).instrument(span);
            let sent = tokio::select! {
                sent = stages::of(Stage::Smtp, sending) => Some(sent),
                () = self.turn.post.abandon.cancelled() => None,
            };
            let Some(sent) = sent else {
                count(wire, "unknown");
                let outcome = self.outcome(wire, State::Unknown, Some("the process shut down"));
                self.turn.post.ledger.record(outcome, self.permit);
                return false;
            };
            metrics::histogram!("smtp_send_seconds", "route" => wire.road.name.clone()).record(begun.elapsed().as_secs_f64());
            let shape = &self.shaped.shape;
            let judgement = judge(&sent, self.admitted.attempts, self.admitted.age_seconds, &shape.retry, rand::random());
            let judgement = if shape.bounces { judgement.hardened() } else { judgement };
            if judgement.again {
                // A kept connection that was closed since: then the message goes at once over a fresh one, and counts once.
                stale += 1;
                if stale < STALE { continue } else { break }
            }
            wire.count(&self.shaped.shape);
            note(&self.turn.post.health, &wire.road, &sent, &judgement);
            // The relay does not have it, and says so or broke off before the dot: another one may take it now.
            if judgement.route_fault && self.turn.fail_over(wire, &mut tried).await == FailOver::Diverted {
                continue;
            }
            self.conclude(wire, judgement);
            return true;
        }
        self.release(wire, Duration::ZERO, lives)
    }

    /// Nothing may be started now.
    fn must_wait(&self) -> bool {
        self.turn.halted().is_some_and(|halt| halt.is_hard()) || self.turn.is_overdue()
    }

    /// Takes a token of the wire's route if the message has that of another one. Answers how long to wait where there is none soon.
    async fn pay(&mut self, wire: &Wire) -> Option<Duration> {
        while self.paid != wire.road.id {
            let shaped = self.turn.shaped(&wire.road, &self.recipient.domain);
            match self.turn.post.shaper.limiter.take(&shaped.till).await {
                Ok(Take::Granted) => (self.paid, self.shaped) = (wire.road.id, shaped),
                Ok(Take::Refused { wait, .. }) if wait <= SHORT_WAIT => tokio::time::sleep(wait).await,
                Ok(Take::Refused { wait, .. }) => return Some(wait),
                Err(error) => {
                    self.turn.halt(Halt::Redis(error.to_string()));
                    return Some(Duration::from_secs(1));
                }
            }
        }
        None
    }

    /// It was never started: it comes round again after this.
    fn release(self, wire: &Wire, wait: Duration, lives: bool) -> bool {
        count(wire, "released");
        let outcome = released(self.turn, wire, self.recipient.contact_id, self.attempt_id);
        self.turn.post.ledger.record(Outcome { delay_seconds: wait.as_secs_f64(), ..outcome }, self.permit);
        lives
    }

    fn compose(&self, letter: &mut Letter) -> Result<(), String> {
        let recipient = template::Recipient {
            email: &self.recipient.email,
            name: &self.recipient.name,
            attributes: &self.recipient.attributes,
        };
        self.turn.composer.write(letter, self.recipient.contact_id, &recipient, self.turn.context.clock.now())
    }

    fn conclude(self, wire: &Wire, judgement: Judgement) {
        count(wire, judgement.state.name());
        if judgement.route_fault && judgement.smtp_code.is_some() {
            self.turn.halt(Halt::Route(judgement.response.clone().unwrap_or_default()));
        }
        teach(&self.turn.post.feedback, &self.shaped.shape, &self.recipient.domain, &judgement);
        let outcome = Outcome {
            smtp_code: judgement.smtp_code,
            enhanced_code: judgement.enhanced_code,
            response: judgement.response,
            delay_seconds: judgement.delay_seconds,
            ..self.outcome(wire, judgement.state, judgement.reason)
        };
        self.turn.count_one();
        self.turn.post.ledger.record(outcome, self.permit);
    }

    fn outcome(&self, wire: &Wire, state: State, reason: Option<&'static str>) -> Outcome {
        Outcome { state, released: false, reason, ..released(self.turn, wire, self.recipient.contact_id, self.attempt_id) }
    }
}

/// What the answer says of the route.
pub fn note(health: &Health, road: &Road, sent: &Sent, judgement: &Judgement) {
    match sent {
        Sent::Refused { reply, .. } if judgement.route_fault => {
            let said = reply.to_string();
            tracing::warn!(route = road.name, reply = said, "the relay refused us, not the recipient");
            health.note(road.id, Event::Failed, Some(&said));
        }
        Sent::NotSent { error } if judgement.route_fault => health.note(road.id, Event::Failed, Some(&error.to_string())),
        Sent::Unknown { error } => health.note(road.id, Event::Failed, Some(&error.to_string())),
        Sent::NotSent { .. } => {}
        _ => health.note(road.id, Event::Carried, None),
    }
}

/// What the answer says of the recipient's destination.
pub fn teach(feedback: &Feedback, shape: &Shape, domain: &str, judgement: &Judgement) {
    let Some(verdict) = judgement.verdict.filter(|_| !judgement.route_fault) else { return };
    if judgement.state != State::Accepted {
        feedback.hear(shape, domain, judgement);
    }
    feedback.note(shape, domain, |window| {
        match judgement.state {
            State::Accepted => window.accepted += 1,
            _ if verdict.throttles => window.throttled += 1,
            State::Deferred | State::Unknown => window.deferred += 1,
            State::Bounced | State::Failed => window.failed += 1,
        }
        window.policy += u32::from(verdict.policy);
        if judgement.state != State::Accepted {
            window.last_reply.clone_from(&judgement.response);
        }
    });
}
