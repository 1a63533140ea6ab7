use std::time::{Duration, Instant};

use shared::{deliveries::reply::Stage, settings::Timeouts};

use super::{
    command,
    error::{SessionError, Trouble},
    message,
    offer::Offer,
    reply::{Malformed, Reply},
    wire::Wire,
};

/// A bigger buffer than this is given back after its message.
const KEPT_BUFFER: usize = 1024 * 1024;
const GOODBYE: Duration = Duration::from_secs(2);

/// What became of one message.
#[derive(Debug)]
pub enum Sent {
    /// The server has it.
    Accepted(Reply),
    /// The server does not have it, and said so: with 400 or more.
    Refused {
        /// What it refused; [`Stage::Reuse`]: it closed a kept connection with a 421 before it looked at this message, so that it may
        /// go out at once on a fresh one, without counting as an attempt.
        stage: Stage,
        /// Its words.
        reply: Reply,
        /// Whether the next message can go over this session.
        session_usable: bool,
    },
    /// The server does not have it: the connection broke before the final dot, or the message cannot go over this session.
    NotSent {
        /// At [`Stage::Reuse`] as with `Refused`; with [`Trouble::Invalid`] the session stays usable.
        error: SessionError,
    },
    /// The final dot was written, or may have been, and no answer came: the server may have the message.
    Unknown {
        /// How it ended.
        error: SessionError,
    },
}

/// An open connection to a relay, after EHLO, TLS and AUTH. Drop it once [`Session::is_usable`] is false.
pub struct Session {
    wire: Wire,
    offer: Offer,
    limits: Limits,
    commands: Vec<u8>,
    body: Vec<u8>,
    messages: u32,
    usable: bool,
    /// A transaction was begun and refused: the next one starts with RSET, in the same write.
    reset_due: bool,
}

struct Limits {
    command: Duration,
    data: Duration,
    final_dot: Duration,
}

/// A message that ended before its body was written.
enum Halt {
    Refused { stage: Stage, reply: Reply, usable: bool },
    Broken(SessionError),
}

impl Halt {
    fn refused((stage, reply): (Stage, Reply), usable: bool) -> Self {
        Self::Refused { stage, reply, usable }
    }

    /// Whoever says yes to what was not asked is out of step with us: nothing that it says from now on can be believed.
    fn out_of_step(stage: Stage, code: u16) -> Self {
        Self::Broken(Trouble::from(Malformed::Unexpected(code)).at(stage))
    }
}

impl Session {
    pub(super) fn new(wire: Wire, offer: Offer, timeouts: &Timeouts) -> Self {
        let limits = Limits {
            command: Duration::from_secs(timeouts.command),
            data: Duration::from_secs(timeouts.data),
            final_dot: Duration::from_secs(timeouts.final_dot),
        };
        Self { wire, offer, limits, commands: Vec::new(), body: Vec::new(), messages: 0, usable: true, reset_due: false }
    }

    /// Hands over one message for one recipient. `from` may be empty (the null sender); line ends of `message` become CRLF, domains in
    /// other scripts A-labels.
    ///
    /// If this future is dropped before it ends, the session is not usable any more, and whether the server has the message is unknown.
    pub async fn send(&mut self, from: &str, to: &str, message: &[u8]) -> Sent {
        if !self.usable {
            return Sent::NotSent { error: Trouble::Closed.at(Stage::Reuse) };
        }
        let (from, to) = (&*command::envelope(from), &*command::envelope(to));
        if let Err(invalid) = command::check(from, to, &self.offer) {
            return Sent::NotSent { error: Trouble::from(invalid).at(Stage::Mail) };
        }
        self.usable = false;
        let (sent, usable) = self.transact(from, to, message).await;
        self.usable = usable;
        sent
    }

    async fn transact(&mut self, from: &str, to: &str, message: &[u8]) -> (Sent, bool) {
        // Until the first answer, a kept connection may turn out to be closed already.
        let first = if self.messages > 0 { Stage::Reuse } else { Stage::Mail };
        self.messages = self.messages.saturating_add(1);
        let begun = Instant::now();
        let envelope = if self.offer.pipelining {
            self.envelope_at_once(first, from, to, message).await
        } else {
            self.envelope_by_steps(first, from, to, message).await
        };
        let in_envelope = begun.elapsed();
        metrics::histogram!("smtp_step_seconds", "step" => "envelope").record(in_envelope.as_secs_f64());
        match envelope {
            Ok(()) => {
                let sent = self.body(message).await;
                metrics::histogram!("smtp_step_seconds", "step" => "body").record((begun.elapsed() - in_envelope).as_secs_f64());
                sent
            }
            Err(Halt::Refused { stage, reply, usable }) => (Sent::Refused { stage, reply, session_usable: usable }, usable),
            Err(Halt::Broken(error)) => (Sent::NotSent { error }, false),
        }
    }

    /// MAIL, RCPT and DATA in one write, then their answers one by one (RFC 2920).
    async fn envelope_at_once(&mut self, first: Stage, from: &str, to: &str, message: &[u8]) -> Result<(), Halt> {
        self.commands.clear();
        if self.reset_due {
            self.commands.extend_from_slice(b"RSET\r\n");
        }
        command::mail(&mut self.commands, from, to, message, &self.offer);
        command::recipient(&mut self.commands, to);
        self.commands.extend_from_slice(b"DATA\r\n");
        self.write_commands(first).await?;
        let mut mail_stage = first;
        if self.reset_due {
            self.after_reset(first).await?;
            mail_stage = Stage::Mail;
        }

        let mut refusal: Option<(Stage, Reply)> = None;
        let mut mail_taken = false;
        let mut recipient_taken = false;
        for stage in [mail_stage, Stage::Recipient] {
            match self.wire.code(stage, self.limits.command).await {
                Ok(200..=299) if stage == Stage::Recipient => recipient_taken = true,
                Ok(200..=299) => mail_taken = true,
                Ok(421) => return Err(Halt::refused(refusal.unwrap_or((stage, self.wire.reply())), false)),
                Ok(code @ 300..=399) => return Err(Halt::out_of_step(stage, code)),
                Ok(_) => {
                    let stage = if stage == Stage::Reuse { Stage::Mail } else { stage };
                    refusal.get_or_insert_with(|| (stage, self.wire.reply()));
                }
                Err(error) => return Err(broken(refusal, error)),
            }
        }
        match (self.wire.code(Stage::Data, self.limits.data).await, refusal) {
            (Ok(354), None) => Ok(()),
            // It would take our dot for a message to this recipient.
            (Ok(354), Some(refusal)) if recipient_taken => Err(Halt::refused(refusal, false)),
            (Ok(354), Some(refusal)) => {
                // RFC 2920 section 3.1: nobody is to receive it, a lone dot ends it.
                let usable = match self.wire.write(b".\r\n", self.limits.command).await {
                    Ok(()) => matches!(self.wire.code(Stage::Dot, self.limits.command).await, Ok(code) if code != 421),
                    Err(_) => false,
                };
                Err(Halt::refused(refusal, usable))
            }
            (Ok(code @ ..400), None) => Err(Halt::out_of_step(Stage::Data, code)),
            (Ok(..400), Some(refusal)) => Err(Halt::refused(refusal, false)),
            (Ok(code), refusal) => {
                self.reset_due = mail_taken;
                Err(Halt::refused(refusal.unwrap_or_else(|| (Stage::Data, self.wire.reply())), code != 421))
            }
            (Err(error), refusal) => Err(broken(refusal, error)),
        }
    }

    /// For servers without PIPELINING.
    async fn envelope_by_steps(&mut self, first: Stage, from: &str, to: &str, message: &[u8]) -> Result<(), Halt> {
        let mut stage = first;
        if self.reset_due {
            self.commands.clear();
            self.commands.extend_from_slice(b"RSET\r\n");
            self.write_commands(stage).await?;
            self.after_reset(stage).await?;
            stage = Stage::Mail;
        }
        self.commands.clear();
        command::mail(&mut self.commands, from, to, message, &self.offer);
        self.step(stage, 200..=299).await?;
        self.reset_due = true;
        self.commands.clear();
        command::recipient(&mut self.commands, to);
        self.step(Stage::Recipient, 200..=299).await?;
        self.commands.clear();
        self.commands.extend_from_slice(b"DATA\r\n");
        self.step(Stage::Data, 354..=354).await?;
        self.reset_due = false;
        Ok(())
    }

    async fn step(&mut self, stage: Stage, good: std::ops::RangeInclusive<u16>) -> Result<(), Halt> {
        self.write_commands(stage).await?;
        let limit = if stage == Stage::Data { self.limits.data } else { self.limits.command };
        let code = self.wire.code(stage, limit).await.map_err(Halt::Broken)?;
        if good.contains(&code) {
            return Ok(());
        }
        if code < 400 {
            return Err(Halt::out_of_step(stage, code));
        }
        let refused_at = if stage == Stage::Reuse && code != 421 { Stage::Mail } else { stage };
        Err(Halt::refused((refused_at, self.wire.reply()), code != 421))
    }

    async fn write_commands(&mut self, stage: Stage) -> Result<(), Halt> {
        let Err((_, trouble)) = self.wire.write(&self.commands, self.limits.command).await else { return Ok(()) };
        // A server that closes says why first, if at all.
        match self.wire.unasked() {
            Some(Ok(code)) if code >= 400 => Err(Halt::refused((stage, self.wire.reply()), false)),
            _ => Err(Halt::Broken(trouble.at(stage))),
        }
    }

    async fn after_reset(&mut self, first: Stage) -> Result<(), Halt> {
        match self.wire.code(first, self.limits.command).await {
            Ok(200..=299) => self.reset_due = false,
            Ok(421) => return Err(Halt::refused((first, self.wire.reply()), false)),
            // Whoever refuses a RSET is out of step with us; nothing of this message was taken.
            Ok(code) => return Err(Halt::out_of_step(first, code)),
            Err(error) => return Err(Halt::Broken(error)),
        }
        Ok(())
    }

    async fn body(&mut self, message: &[u8]) -> (Sent, bool) {
        // A connection that is already closed is certain now and would be in doubt after the write.
        match self.wire.unasked() {
            None => {}
            // A yes before the message is there is no yes to the message.
            Some(Ok(code @ ..400)) => {
                return (Sent::NotSent { error: Trouble::from(Malformed::Unexpected(code)).at(Stage::Data) }, false);
            }
            Some(Ok(_)) => {
                return (Sent::Refused { stage: Stage::Data, reply: self.wire.reply(), session_usable: false }, false);
            }
            Some(Err(trouble)) => return (Sent::NotSent { error: trouble.at(Stage::Data) }, false),
        }
        self.body.clear();
        message::stuff(message, &mut self.body);
        let written = self.wire.write(&self.body, self.limits.data).await;
        let length = self.body.len();
        if self.body.capacity() > KEPT_BUFFER {
            self.body = Vec::new();
        }
        if let Err((taken, trouble)) = written {
            return (self.after_broken_write(taken, length, trouble), false);
        }
        match self.wire.code(Stage::Dot, self.limits.final_dot).await {
            Ok(200..=299) => (Sent::Accepted(self.wire.reply()), true),
            Ok(code @ 300..=399) => (Sent::Unknown { error: Trouble::from(Malformed::Unexpected(code)).at(Stage::Dot) }, false),
            Ok(code) => {
                let usable = code != 421;
                (Sent::Refused { stage: Stage::Dot, reply: self.wire.reply(), session_usable: usable }, usable)
            }
            Err(error) => (Sent::Unknown { error }, false),
        }
    }

    fn after_broken_write(&mut self, taken: usize, length: usize, trouble: Trouble) -> Sent {
        // Servers may refuse a message before its end (552 too big), then close.
        if let Some(Ok(400..=599)) = self.wire.unasked() {
            return Sent::Refused { stage: Stage::Dot, reply: self.wire.reply(), session_usable: false };
        }
        // The dot is the third byte from the end.
        if taken + 3 <= length {
            Sent::NotSent { error: trouble.at(Stage::Data) }
        } else {
            Sent::Unknown { error: trouble.at(Stage::Dot) }
        }
    }

    /// Says QUIT and waits at most 2 s for the answer.
    pub async fn quit(mut self) {
        if self.usable && self.wire.write(b"QUIT\r\n", GOODBYE).await.is_ok() {
            // Whatever it answers, the connection ends here.
            let _ = self.wire.code(Stage::Reuse, GOODBYE).await;
        }
    }

    /// Whether the next message may be tried: no step failed, and the server's announced limit of messages (RFC 9422) is not reached.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.usable && self.offer.mail_max.is_none_or(|most| self.messages < most)
    }

    /// Without waiting: false if the server has closed an idle connection or said 421 meanwhile. True is no promise.
    pub fn is_alive_hint(&mut self) -> bool {
        if self.usable && self.wire.unasked().is_some() {
            self.usable = false;
        }
        self.usable
    }

    /// Messages that were begun over this connection, whatever became of them.
    #[must_use]
    pub fn messages(&self) -> u32 {
        self.messages
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.wire.stream.is_encrypted()
    }

    /// The biggest message in bytes that the server announced to take, if it did.
    #[must_use]
    pub fn size_limit(&self) -> Option<u64> {
        self.offer.size.filter(|size| *size > 0)
    }
}

/// An error after a refusal changes nothing about the refusal, but ends the session.
fn broken(refusal: Option<(Stage, Reply)>, error: SessionError) -> Halt {
    match refusal {
        Some(refusal) => Halt::refused(refusal, false),
        None => Halt::Broken(error),
    }
}
