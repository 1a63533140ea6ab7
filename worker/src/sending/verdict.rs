//! What an answer means for the recipient: pure rules between the session and the ledger.

use shared::{
    deliveries::{
        ledger::State,
        reply::{Action, Class, Scope, Verdict, classify},
    },
    settings::Retry,
};

use super::schedule::next_attempt;
use crate::clients::smtp::{Invalid, Reply, Sent, Stage, Trouble};

/// Seconds after which a message that was never handed over is tried again, whatever the schedule says: it was the route's fault.
const ROUTE_RETRY_SECONDS: f64 = 10.0;
/// Longer replies are cut: the ledger is not an archive.
const LONGEST_REPLY: usize = 500;

/// What becomes of a recipient.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Its state.
    pub state: State,
    /// Deferred: seconds until the next attempt.
    pub delay_seconds: f64,
    /// Three digits, where a server answered.
    pub smtp_code: Option<i16>,
    /// `x.y.z`, where a server said it.
    pub enhanced_code: Option<String>,
    /// The server's words.
    pub response: Option<String>,
    /// Ours.
    pub reason: Option<&'static str>,
    /// The rule's view of the reply, where there was one.
    pub verdict: Option<Verdict>,
    /// The route as such is at fault.
    pub route_fault: bool,
    /// Nothing was tried: the same message may go at once over a fresh connection.
    pub again: bool,
}

impl Judgement {
    /// The server's whole answer on one line.
    #[must_use]
    pub fn reply(&self) -> String {
        let code = self.smtp_code.map(|code| code.to_string());
        let parts = [code.as_deref(), self.enhanced_code.as_deref(), self.response.as_deref()];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// Of what a server defers nothing comes round: an adaptive rule says so.
    #[must_use]
    pub fn hardened(self) -> Self {
        if self.state != State::Deferred || self.route_fault || self.again || self.smtp_code.is_none() {
            return self;
        }
        Self { state: State::Failed, delay_seconds: 0.0, reason: Some("shaping"), ..self }
    }
}

/// Judges what became of an attempt. `attempts` counts it, `age_seconds` since the first one; `roll` between 0 and 1 is the jitter.
#[must_use]
pub fn judge(sent: &Sent, attempts: i16, age_seconds: f64, retry: &Retry, roll: f64) -> Judgement {
    let deferral = |longest: f64| match next_attempt(attempts, age_seconds, retry, roll) {
        Some(delay) => (State::Deferred, delay.min(longest), None),
        None => (State::Failed, 0.0, Some("expired")),
    };
    match sent {
        Sent::Accepted(reply) => {
            Judgement { verdict: Some(verdict(Stage::Dot, reply)), ..of(State::Accepted, 0.0, None, Some(reply)) }
        }
        Sent::Refused { stage, reply, .. } => {
            let verdict = verdict(*stage, reply);
            // A 421 before any recipient was named is the relay's own: it is closing.
            let closing = *stage == Stage::Mail && reply.code == 421 && !verdict.policy;
            let route_fault = verdict.scope == Scope::Route || closing;
            let (state, delay, reason) = match verdict.action {
                // Only the answer to a whole message accepts one: `Sent::Accepted`.
                Action::Accept | Action::Defer => deferral(if route_fault { ROUTE_RETRY_SECONDS } else { f64::INFINITY }),
                Action::Bounce => (State::Bounced, 0.0, None),
                Action::Fail => (State::Failed, 0.0, None),
            };
            let reason = reason.or_else(|| (verdict.class != Class::Accepted).then(|| verdict.class.as_str()));
            let again = *stage == Stage::Reuse;
            Judgement { verdict: Some(verdict), route_fault: route_fault && !again, again, ..of(state, delay, reason, Some(reply)) }
        }
        Sent::NotSent { error } => {
            let again = error.stage == Stage::Reuse;
            if let Trouble::Invalid(invalid) = &error.trouble {
                // RFC 6531 section 3.5.
                let code = matches!(invalid, Invalid::NeedsUtf8(_)).then(|| "5.6.7".to_owned());
                let failed = of(State::Failed, 0.0, Some("address"), None);
                return Judgement { response: Some(clean(&error.to_string())), enhanced_code: code, ..failed };
            }
            let (state, delay, reason) = deferral(ROUTE_RETRY_SECONDS);
            let judgement = of(state, delay, reason.or(Some("connection")), None);
            Judgement { response: Some(clean(&error.to_string())), route_fault: !again, again, ..judgement }
        }
        Sent::Unknown { error } => Judgement {
            response: Some(clean(&error.to_string())),
            ..of(State::Unknown, 0.0, Some("no reply to the final dot"), None)
        },
    }
}

fn verdict(stage: Stage, reply: &Reply) -> Verdict {
    classify(stage, reply.code, reply.enhanced.as_deref(), &reply.text)
}

fn of(state: State, delay_seconds: f64, reason: Option<&'static str>, reply: Option<&Reply>) -> Judgement {
    Judgement {
        state,
        delay_seconds,
        smtp_code: reply.and_then(|r| i16::try_from(r.code).ok()),
        enhanced_code: reply.and_then(|r| r.enhanced.clone()),
        response: reply.map(|r| clean(&r.text)),
        reason,
        verdict: None,
        route_fault: false,
        again: false,
    }
}

/// PostgreSQL's text takes no NUL.
fn clean(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(LONGEST_REPLY).collect()
}
