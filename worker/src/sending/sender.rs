//! One wire's loop: admissions ahead, one message after another, outcomes behind. A message holds a permit of the wire's window from
//! before its admission until its outcome is committed, so that a crash leaves at most a window's worth in doubt per connection.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use shared::{
    campaigns::template,
    deliveries::{
        chunk::Recipient,
        ledger::{Admission, Admitted, Outcome, State},
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use uuid::Uuid;

use super::{
    turn::{Halt, Next, Turn},
    verdict::{Judgement, judge},
    wires::Wire,
};
use crate::clients::smtp::Sent;

struct Ahead {
    recipient: Recipient,
    attempt_id: i64,
    answer: oneshot::Receiver<Option<Admitted>>,
    permit: OwnedSemaphorePermit,
}

/// Sends until nobody is left or the turn is halted, then waits until every outcome of this wire is committed.
pub async fn run(turn: &Turn<'_>, mut wire: Wire) {
    let window = wire.window.clone();
    let size = u32::try_from(turn.context.settings.sending.look_ahead).unwrap_or(1);
    let mut ahead: VecDeque<Ahead> = VecDeque::new();
    let mut buffer = Vec::new();
    // The connection comes first: nobody is admitted on a wire that cannot be opened.
    if turn.left() > 0
        && let Err(error) = turn.post.wires.open(&mut wire).await
    {
        turn.halt(Halt::Route(error.to_string()));
    }
    let mut more = true;
    loop {
        while more {
            let Ok(permit) = window.clone().try_acquire_owned() else { break };
            match turn.next().await {
                Next::Recipient(recipient) => ahead.push_back(ask(turn, &wire, recipient, permit)),
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
            let released = released(turn, next.recipient.contact_id, next.attempt_id);
            turn.post.ledger.record(released, next.permit);
            turn.put_back(next.recipient);
            turn.halt(Halt::Refused);
            continue;
        };
        if !admitted.may_send() {
            count(&wire, "suppressed");
            continue;
        }
        let attempt = Attempt { turn, recipient: next.recipient, attempt_id: next.attempt_id, admitted, permit: next.permit };
        attempt.carry(&mut wire, &mut buffer).await;
    }
    // Acquiring the whole window means that every outcome is committed.
    let _ = window.acquire_many(size).await;
    turn.post.wires.put_back(wire);
}

async fn wait_for_room(window: &Arc<Semaphore>) {
    let _ = window.acquire().await;
}

fn ask(turn: &Turn<'_>, wire: &Wire, recipient: Recipient, permit: OwnedSemaphorePermit) -> Ahead {
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
    Ahead { recipient, attempt_id, answer, permit }
}

/// The attempt was never started: the recipient comes round again at once, and it does not count.
fn released(turn: &Turn<'_>, contact_id: Uuid, attempt_id: i64) -> Outcome {
    Outcome {
        campaign_id: turn.chunk.campaign_id,
        contact_id,
        attempt_id,
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
    admitted: Admitted,
    permit: OwnedSemaphorePermit,
}

impl Attempt<'_, '_> {
    async fn carry(self, wire: &mut Wire, buffer: &mut Vec<u8>) {
        if let Err(error) = self.compose(buffer) {
            count(wire, "failed");
            tracing::warn!(campaign.id = %self.turn.chunk.campaign_id, contact.id = %self.recipient.contact_id, error, "a message cannot be rendered");
            let outcome = Outcome { response: Some(error), ..self.outcome(State::Failed, Some("rendering")) };
            return self.turn.post.ledger.record(outcome, self.permit);
        }
        // A kept connection may have been closed since: then the message goes at once over a fresh one, and counts once.
        for _ in 0..3 {
            if self.turn.halted().is_some_and(|halt| halt.is_hard()) {
                break;
            }
            let opened = tokio::select! {
                opened = self.turn.post.wires.open(wire) => opened,
                () = self.turn.post.abandon.cancelled() => break,
            };
            let session = match opened {
                Ok(session) => session,
                Err(error) => {
                    self.turn.halt(Halt::Route(error.to_string()));
                    break;
                }
            };
            // Opening may have taken long.
            if self.turn.halted().is_some_and(|halt| halt.is_hard()) {
                break;
            }
            let begun = Instant::now();
            let sent = tokio::select! {
                sent = session.send(&self.turn.standing.content.from_email, &self.recipient.email, buffer) => Some(sent),
                () = self.turn.post.abandon.cancelled() => None,
            };
            let Some(sent) = sent else {
                count(wire, "unknown");
                return self.turn.post.ledger.record(self.outcome(State::Unknown, Some("the process shut down")), self.permit);
            };
            metrics::histogram!("smtp_send_seconds", "route" => wire.road.name.clone()).record(begun.elapsed().as_secs_f64());
            let retry = &self.turn.context.settings.sending.retry;
            let judgement = judge(&sent, self.admitted.attempts, self.admitted.age_seconds, retry, rand::random());
            if judgement.again {
                continue;
            }
            return self.conclude(wire, &sent, judgement);
        }
        count(wire, "released");
        let outcome = released(self.turn, self.recipient.contact_id, self.attempt_id);
        self.turn.post.ledger.record(outcome, self.permit);
    }

    fn compose(&self, buffer: &mut Vec<u8>) -> Result<(), String> {
        let recipient = template::Recipient {
            email: &self.recipient.email,
            name: &self.recipient.name,
            attributes: &self.recipient.attributes,
        };
        let url = self.turn.post.links.unsubscribe_url(self.turn.chunk.campaign_id, self.recipient.contact_id);
        buffer.clear();
        self.turn.composer.write(buffer, self.recipient.contact_id, &recipient, &url, self.turn.context.clock.now())
    }

    fn conclude(self, wire: &Wire, sent: &Sent, judgement: Judgement) {
        count(wire, judgement.state.name());
        if judgement.route_fault {
            self.turn.post.wires.note(wire.road.id, false);
            if let Sent::Refused { reply, .. } = sent {
                tracing::warn!(
                    route = wire.road.name,
                    code = reply.code,
                    reply = reply.excerpt(200),
                    "the relay refused us, not the recipient"
                );
                self.turn.halt(Halt::Route(format!("{} {}", reply.code, reply.excerpt(200))));
            }
        }
        if let Some(verdict) = judgement.verdict.filter(|_| !judgement.route_fault) {
            self.turn.post.feedback.note(&self.recipient.domain, |window| {
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
        let outcome = Outcome {
            smtp_code: judgement.smtp_code,
            enhanced_code: judgement.enhanced_code,
            response: judgement.response,
            delay_seconds: judgement.delay_seconds,
            ..self.outcome(judgement.state, judgement.reason)
        };
        self.turn.count_one();
        self.turn.post.ledger.record(outcome, self.permit);
    }

    fn outcome(&self, state: State, reason: Option<&'static str>) -> Outcome {
        Outcome { state, released: false, reason, ..released(self.turn, self.recipient.contact_id, self.attempt_id) }
    }
}
