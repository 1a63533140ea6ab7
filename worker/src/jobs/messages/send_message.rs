//! Sends one message, over another route where one fails before it has it. Nobody knows whether a mail came through when the answer to its
//! last dot is lost, or the process died: somebody waits for it, so it goes again, with the same Message-ID.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use shared::{
    deliveries::ledger::State as Verdict,
    messages::{
        attachment,
        carry::{self, Admitted, Outcome as Recorded},
        letter,
        message::{self, Message, State},
        payload::SendMessage,
    },
    operations::sending::Hold,
    routes::health,
    vault::Origin,
};
use uuid::Uuid;

use crate::{
    clients::smtp::{Sent, SessionError, Stage, Trouble},
    run::{Context, Failure, Outcome, Run, Stop},
    sending::{
        guide::Road,
        limiter::{Closed, Take},
        schedule::next_attempt,
        sender::{note, teach},
        verdict::{Judgement, judge},
        wires::Wire,
    },
};

/// A wait below this is waited out; a longer one gives the slot back.
const SHORT_WAIT: Duration = Duration::from_millis(250);
/// Between two looks for a connection.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Kept connections in a row that turn out to be closed.
const STALE: usize = 3;
/// A refusal that lasts is told every few seconds, not five times in each.
const RECORD_AT_LEAST_EVERY: Duration = Duration::from_secs(5);
/// Between the first two tries to record an outcome.
const RECORD_AGAIN: Duration = Duration::from_millis(200);

impl Run for SendMessage {
    async fn run(self, context: &Context) -> Outcome {
        let Some(message) = message::read(&context.pool, self.message_id).await? else { return Ok(json!({ "state": "gone" })) };
        if !message.state.is_open() {
            return Ok(json!({ "state": message.state }));
        }
        let now = context.clock.now();
        // The run that put it off has died before it ended.
        if let Some(at) = message.next_attempt_at.filter(|at| message.state == State::Deferred && *at > now) {
            return Err(Failure::Snooze(at));
        }
        if context.post.guide.hold().is_some_and(Hold::holds_critical) {
            return Err(later(Duration::from_secs(1)));
        }
        if message.expires_at <= now {
            // The admission refuses it.
            let admitted = carry::admit(&context.pool, context.lease(), message.id, rand::random(), Uuid::nil()).await?;
            return ended(admitted);
        }
        if context.post.shaper.states().get(&message.domain).is_some_and(|destination| destination.held) {
            return Err(later(Duration::from_secs(1)));
        }
        let most = usize::try_from(context.settings.sending.transactional.destination_messages).unwrap_or(1);
        let Some(_passed) = context.post.gate.pass(&message.domain, most) else { return Err(later(SHORT_WAIT)) };
        let attachments = if message.attachments > 0 { attachment::load(&context.pool, message.id).await? } else { Vec::new() };
        let mut bytes = letter::compose(&message, &attachments, message.created_at);
        drop(attachments);
        let identity = context.post.identities.of(message.workspace_id, &message.from_email).await?;
        if let Some(signer) = &identity.signer {
            let unsigned = std::mem::take(&mut bytes);
            signer.sign(&unsigned, &mut bytes).map_err(|reason| Failure::Retry(anyhow::anyhow!(reason)))?;
        }
        let origin = Origin::Message { message_id: message.id };
        let host = identity.return_path_host.as_deref();
        let from = host.map_or_else(|| message.from_email.clone(), |host| context.post.links.return_path(host, origin));
        Attempt { context, message: &message, from, bytes, attempt_id: rand::random(), admitted: None }.carry().await
    }
}

fn later(wait: Duration) -> Failure {
    Failure::Yield(wait, None)
}

fn redis(error: redis::RedisError) -> Failure {
    Failure::Yield(Duration::from_secs(1), Some(format!("redis: {error}")))
}

fn closed(error: Closed) -> Failure {
    Failure::Yield(Duration::from_secs(1), Some(error.to_string()))
}

/// The end of a run whose message was not admitted.
fn ended(admitted: Option<Admitted>) -> Outcome {
    match admitted {
        Some(Admitted { state, .. }) => {
            metrics::counter!("messages_total", "outcome" => state.name()).increment(1);
            Ok(json!({ "state": state }))
        }
        // Cancelled just now, or another worker has the job.
        None => Err(later(Duration::ZERO)),
    }
}

struct Attempt<'a> {
    context: &'a Context,
    message: &'a Message,
    /// The envelope's sender: where bounces go.
    from: String,
    bytes: Vec<u8>,
    attempt_id: i64,
    admitted: Option<Admitted>,
}

/// Why a route does not do.
enum Passed {
    /// All its connections are taken.
    Full,
    /// It fails, and what it said.
    Broken(String),
}

/// What one route made of it.
enum Tried {
    /// The run ends like this.
    Ended(Outcome),
    /// Another route may do.
    Passed(Passed),
    /// Another route may do; if there is none, this is what becomes of it.
    Faulted(Box<Judgement>, Uuid),
}

impl Attempt<'_> {
    async fn carry(mut self) -> Outcome {
        let mut tried = Vec::new();
        let (mut full, mut error, mut faulted) = (false, None, None);
        while let Some(road) = self.context.post.ways.open_to(None, &tried).into_iter().next() {
            match self.over(&road).await? {
                Tried::Ended(outcome) => return outcome,
                Tried::Passed(Passed::Full) => full = true,
                Tried::Passed(Passed::Broken(said)) => error = Some(said),
                Tried::Faulted(judgement, route) => faulted = Some((judgement, route)),
            }
            tried.push(road.id);
        }
        if let Some((judgement, route)) = faulted {
            return self.conclude(*judgement, route).await;
        }
        if let (Some(_), Some(road)) = (&self.admitted, tried.last()) {
            // Admitted, and then no connection was to be had: it counts as an attempt, and comes round soon.
            let sent = Judgement { response: error, ..self.put_off(SHORT_WAIT.as_secs_f64()) };
            return self.conclude(sent, *road).await;
        }
        if full {
            return Err(later(SHORT_WAIT));
        }
        let (wait, why) = self.context.post.ways.closed(None);
        let why = error.map_or(why, |error| format!("{}{error}", health::WAITS));
        Err(Failure::Yield(wait.min(Duration::from_secs(2)), Some(why)))
    }

    /// Tries one route.
    async fn over(&mut self, road: &Arc<Road>) -> Result<Tried, Failure> {
        if let Some(wait) = self.pay(road).await? {
            return Ok(Tried::Ended(Err(later(wait))));
        }
        let mut stale = 0;
        loop {
            let Some(mut wire) = self.wire(road).await? else { return Ok(Tried::Passed(Passed::Full)) };
            let post = &self.context.post;
            let opened = tokio::select! {
                opened = post.wires.open(&mut wire, None) => opened.map(|_| ()),
                () = post.abandon.cancelled() => return Err(Failure::Stopped(Stop::Shutdown)),
            };
            if let Err(error) = opened {
                return Ok(Tried::Passed(Passed::Broken(error.to_string())));
            }
            if let Some(stop) = self.context.stop() {
                post.wires.put_back(wire);
                return Err(Failure::Stopped(stop));
            }
            let attempts = match self.admit(road).await? {
                Ok(attempts) => attempts,
                Err(outcome) => {
                    post.wires.put_back(wire);
                    return Ok(Tried::Ended(outcome));
                }
            };
            let Some(sent) = self.send(&mut wire).await else {
                // It stays in flight, and goes again.
                return Err(Failure::Stopped(Stop::Shutdown));
            };
            let retry = &self.context.settings.sending.transactional.retry;
            let judgement = judge(&sent, attempts.0, attempts.1, retry, rand::random());
            if judgement.again && stale < STALE {
                stale += 1;
                continue;
            }
            note(&post.health, road, &sent, &judgement);
            post.wires.put_back(wire);
            if judgement.route_fault || judgement.again {
                return Ok(Tried::Faulted(Box::new(judgement), road.id));
            }
            let shaped = post.shaper.of(road, self.message.workspace_id, &self.message.domain);
            teach(&post.feedback, &shaped.shape, &self.message.domain, &judgement);
            return Ok(Tried::Ended(self.conclude(judgement, road.id).await));
        }
    }

    /// Takes a token. Answers how long to wait where there is none soon.
    async fn pay(&self, road: &Road) -> Result<Option<Duration>, Failure> {
        let post = &self.context.post;
        loop {
            let shaped = post.shaper.of(road, self.message.workspace_id, &self.message.domain);
            if shaped.shape.held_until.is_some() {
                return Ok(Some(Duration::from_secs(1)));
            }
            match post.shaper.limiter.take_urgent(&shaped.till).await.map_err(closed)? {
                Take::Granted => return Ok(None),
                Take::Refused { wait, .. } if wait <= SHORT_WAIT => tokio::time::sleep(wait).await,
                Take::Refused { wait, .. } => return Ok(Some(wait)),
            }
        }
    }

    /// A connection of the route, within a moment.
    async fn wire(&self, road: &Arc<Road>) -> Result<Option<Wire>, Failure> {
        let begun = Instant::now();
        loop {
            if let Some(wire) = self.context.post.wires.take_urgent(road).await.map_err(redis)? {
                return Ok(Some(wire));
            }
            if begun.elapsed() > SHORT_WAIT {
                return Ok(None);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Attempts and seconds since the first one; admits it, unless it is. The inner error: it is over.
    async fn admit(&mut self, road: &Road) -> Result<Result<(i16, f64), Outcome>, Failure> {
        if self.admitted.is_none() {
            let context = self.context;
            let admitted = carry::admit(&context.pool, context.lease(), self.message.id, self.attempt_id, road.id).await?;
            match admitted {
                Some(admitted) if admitted.state == State::Sending => self.admitted = Some(admitted),
                refused => return Ok(Err(ended(refused))),
            }
        }
        Ok(Ok(self.admitted.as_ref().map_or((1, 0.0), |admitted| (admitted.attempts, admitted.age_seconds))))
    }

    /// `None`: the process has to go.
    async fn send(&self, wire: &mut Wire) -> Option<Sent> {
        let post = &self.context.post;
        let route = wire.road.name.clone();
        let longest = Duration::from_secs(3 * self.context.settings.sending.transactional.longest_step_seconds);
        let begun = Instant::now();
        let session = match post.wires.open(wire, None).await {
            Ok(session) => session,
            Err(error) => return Some(Sent::NotSent { error: SessionError { stage: error.stage(), trouble: Trouble::Closed } }),
        };
        let sending = session.send(&self.from, &self.message.recipient, &self.bytes);
        let unanswered = Sent::Unknown { error: SessionError { stage: Stage::Dot, trouble: Trouble::Timeout(longest.as_secs()) } };
        let sent = tokio::select! {
            sent = tokio::time::timeout(longest, sending) => sent.unwrap_or(unanswered),
            () = post.abandon.cancelled() => return None,
        };
        metrics::histogram!("smtp_send_seconds", "route" => route).record(begun.elapsed().as_secs_f64());
        Some(sent)
    }

    /// As after a failed connection.
    fn put_off(&self, delay_seconds: f64) -> Judgement {
        Judgement {
            state: Verdict::Deferred,
            delay_seconds,
            smtp_code: None,
            enhanced_code: None,
            response: None,
            reason: Some("connection"),
            verdict: None,
            route_fault: true,
            again: false,
        }
    }

    async fn conclude(&self, judgement: Judgement, route_id: Uuid) -> Outcome {
        let retry = &self.context.settings.sending.transactional.retry;
        let (attempts, age) = self.admitted.as_ref().map_or((1, 0.0), |admitted| (admitted.attempts, admitted.age_seconds));
        let (state, delay_seconds, reason) = match judgement.state {
            Verdict::Accepted => (State::Accepted, 0.0, None),
            Verdict::Bounced => (State::Bounced, 0.0, judgement.reason),
            Verdict::Failed => (State::Failed, 0.0, judgement.reason),
            Verdict::Deferred => (State::Deferred, judgement.delay_seconds, judgement.reason),
            Verdict::Unknown => match next_attempt(attempts, age, retry, rand::random()) {
                Some(delay) => (State::Deferred, delay, Some("no reply")),
                None => (State::Failed, 0.0, Some("no reply")),
            },
        };
        let outcome = Recorded {
            id: self.message.id,
            attempt_id: self.attempt_id,
            route_id,
            state,
            smtp_code: judgement.smtp_code,
            enhanced_code: judgement.enhanced_code,
            response: judgement.response,
            reason,
            delay_seconds,
        };
        let seconds = self.record(&outcome).await?;
        metrics::counter!("messages_total", "outcome" => state.name()).increment(1);
        if let Some(seconds) = seconds.filter(|_| state == State::Accepted && attempts == 1) {
            metrics::histogram!("message_handover_seconds").record(seconds);
        }
        if state == State::Deferred {
            let why = outcome.response.as_deref().or(reason).map(str::to_owned);
            return Err(Failure::Yield(Duration::from_secs_f64(delay_seconds.max(0.0)), why));
        }
        Ok(told(&outcome))
    }

    /// However long PostgreSQL is away or refuses: whoever gave up here would send twice. Another worker may have the message by then, and
    /// the attempt's id makes this a no-op.
    async fn record(&self, outcome: &Recorded) -> Result<Option<f64>, Failure> {
        let mut pause = RECORD_AGAIN;
        loop {
            match carry::record(&self.context.pool, outcome).await {
                Ok(seconds) => return Ok(seconds),
                Err(error) => {
                    tracing::warn!(%error, message.id = %outcome.id, "could not record the outcome of a message; trying again")
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(RECORD_AT_LEAST_EVERY),
                () = self.context.post.abandon.cancelled() => return Err(Failure::Stopped(Stop::Shutdown)),
            }
        }
    }
}

fn told(outcome: &Recorded) -> Value {
    json!({ "state": outcome.state, "code": outcome.smtp_code, "response": outcome.response })
}
