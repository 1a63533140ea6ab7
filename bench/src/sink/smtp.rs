use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{
    counts::{Counts, Domain},
    personality::Personality,
    settings::Settings,
};

const EHLO: &[u8] =
    b"250-sink.test\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n";
const EHLO_WITH_TLS: &[u8] = b"250-sink.test\r\n250-STARTTLS\r\n250 ENHANCEDSTATUSCODES\r\n";
const LONGEST_COMMAND: usize = 4096;
const LONGEST_MESSAGE: usize = 52_428_800;

pub(super) async fn listen(listener: TcpListener, counts: Arc<Counts>, settings: Arc<Settings>) {
    loop {
        // Out of file descriptors, or a client that left before it was accepted: the next one may be well.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (counts, settings) = (counts.clone(), settings.clone());
        tokio::spawn(async move {
            counts.connections_open.fetch_add(1, Relaxed);
            counts.connections_total.fetch_add(1, Relaxed);
            let mut conversation = Conversation::new(stream, &counts, &settings);
            // A client that goes away is not an event.
            let _ = conversation.run().await;
            conversation.turn_to(None);
            counts.connections_open.fetch_sub(1, Relaxed);
        });
    }
}

struct Conversation<'a> {
    stream: TcpStream,
    counts: &'a Counts,
    settings: &'a Settings,
    input: Vec<u8>,
    /// What of the input is done with.
    done: usize,
    output: Vec<u8>,
    sender: Option<String>,
    recipients: Vec<Recipient>,
    domain: Option<(String, Arc<Domain>)>,
    /// That it has carried.
    messages: u64,
}

struct Recipient {
    address: String,
    domain: Arc<Domain>,
    personality: Personality,
}

/// What follows a command.
enum Next {
    Command,
    Data,
    /// What comes instead of a handshake, then the end.
    Garbage,
    Close,
}

impl<'a> Conversation<'a> {
    fn new(stream: TcpStream, counts: &'a Counts, settings: &'a Settings) -> Self {
        let (input, output) = (Vec::with_capacity(16 * 1024), Vec::with_capacity(1024));
        Self { stream, counts, settings, input, done: 0, output, sender: None, recipients: Vec::new(), domain: None, messages: 0 }
    }

    async fn run(&mut self) -> io::Result<()> {
        if self.settings.refuse_connections.load(Relaxed) {
            return Ok(());
        }
        self.stream.set_nodelay(true)?;
        let most = self.settings.most_connections.load(Relaxed);
        if most > 0 && self.counts.connections_open.load(Relaxed) > i64::try_from(most).unwrap_or(i64::MAX) {
            self.say(b"421 4.7.0 Too many connections\r\n");
            return self.flush().await;
        }
        let wait = self.settings.banner_ms.load(Relaxed);
        if wait > 0 {
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        let banner = self.settings.banner_code.load(Relaxed);
        self.say(format!("{banner} sink.test ESMTP\r\n").as_bytes());
        if banner != 220 {
            return self.flush().await;
        }
        loop {
            let Some(end) = self.input[self.done..].iter().position(|byte| *byte == b'\n') else {
                if self.input.len() - self.done > LONGEST_COMMAND {
                    self.say(b"500 5.5.2 line too long\r\n");
                    return self.flush().await;
                }
                // Everything that came in together is answered together.
                self.flush().await?;
                if !self.read().await? {
                    return Ok(());
                }
                continue;
            };
            let line = self.done..self.done + end + 1;
            self.done = line.end;
            match self.command(line) {
                Next::Command => {}
                Next::Close => return self.flush().await,
                Next::Garbage => {
                    self.flush().await?;
                    // The client speaks first.
                    self.read().await?;
                    self.say(b"this is no handshake\r\n");
                    return self.flush().await;
                }
                Next::Data => {
                    self.flush().await?;
                    if !self.message().await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn say(&mut self, reply: &[u8]) {
        self.output.extend_from_slice(reply);
    }

    async fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await?;
            self.output.clear();
        }
        Ok(())
    }

    async fn read(&mut self) -> io::Result<bool> {
        if self.done == self.input.len() {
            self.input.clear();
            self.done = 0;
        } else if self.done > 0 {
            self.input.drain(..self.done);
            self.done = 0;
        }
        self.input.reserve(8 * 1024);
        Ok(self.stream.read_buf(&mut self.input).await? > 0)
    }

    fn command(&mut self, line: std::ops::Range<usize>) -> Next {
        let input = std::mem::take(&mut self.input);
        let next = self.answer(&input[line]);
        self.input = input;
        next
    }

    fn answer(&mut self, line: &[u8]) -> Next {
        let Some(line) = line.strip_suffix(b"\r\n") else {
            self.counts.protocol_errors.fetch_add(1, Relaxed);
            self.say(b"500 5.5.2 lines end with CRLF\r\n");
            return Next::Close;
        };
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        match verb.as_slice() {
            b"EHLO" if self.settings.offers_nothing.load(Relaxed) => self.say(b"250 sink.test\r\n"),
            b"EHLO" if self.settings.broken_tls.load(Relaxed) => self.say(EHLO_WITH_TLS),
            b"EHLO" => self.say(EHLO),
            b"STAR" if self.settings.broken_tls.load(Relaxed) => {
                self.say(b"220 2.0.0 go on\r\n");
                return Next::Garbage;
            }
            b"HELO" => self.say(b"250 sink.test\r\n"),
            b"MAIL" => return self.mail(line),
            b"RCPT" => return self.recipient(line),
            b"DATA" => return self.data(),
            b"RSET" => {
                self.forget();
                self.say(b"250 2.0.0 ok\r\n");
            }
            b"NOOP" => self.say(b"250 2.0.0 ok\r\n"),
            b"QUIT" => {
                self.say(b"221 2.0.0 bye\r\n");
                return Next::Close;
            }
            _ => {
                self.counts.protocol_errors.fetch_add(1, Relaxed);
                self.say(b"500 5.5.2 no such command\r\n");
            }
        }
        Next::Command
    }

    fn forget(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }

    fn mail(&mut self, line: &[u8]) -> Next {
        let most = self.settings.most_messages.load(Relaxed);
        if self.settings.refuse_connections.load(Relaxed) || (most > 0 && self.messages >= most) {
            self.say(b"421 4.3.2 closing\r\n");
            return Next::Close;
        }
        if self.sender.is_some() {
            self.counts.protocol_errors.fetch_add(1, Relaxed);
            self.say(b"503 5.5.1 nested MAIL\r\n");
        } else {
            self.sender = Some(path(line).unwrap_or_default());
            self.say(b"250 2.1.0 ok\r\n");
        }
        Next::Command
    }

    fn recipient(&mut self, line: &[u8]) -> Next {
        if self.sender.is_none() {
            self.say(b"503 5.5.1 MAIL first\r\n");
            return Next::Command;
        }
        let path = path(line);
        let Some((local, domain)) = path.as_deref().and_then(|path| path.rsplit_once('@')) else {
            self.say(b"501 5.1.3 no address\r\n");
            return Next::Command;
        };
        let name = domain.to_ascii_lowercase();
        let personality = Personality::of(local, &name);
        if self.domain.as_ref().is_none_or(|(current, _)| *current != name) {
            let domain = self.counts.domain(&name);
            self.turn_to(Some((name, domain)));
        }
        let Some((_, domain)) = &self.domain else { return Next::Close };
        let domain = domain.clone();
        let address = format!("{local}@{domain}", domain = domain_of(&self.domain));
        match self.refusal(personality, &address, &domain) {
            Some(reply) => {
                let count = if reply[0] == b'4' { &domain.tempfailed } else { &domain.rejected };
                count.fetch_add(1, Relaxed);
                self.say(reply);
                if reply.starts_with(b"421") {
                    return Next::Close;
                }
            }
            None => {
                self.say(if personality == Personality::Latin { b"250 2.1.5 re\xe7u\r\n" } else { b"250 2.1.5 ok\r\n" });
                self.recipients.push(Recipient { address, domain, personality });
            }
        }
        Next::Command
    }

    fn refusal(&self, personality: Personality, address: &str, domain: &Domain) -> Option<&'static [u8]> {
        match personality {
            Personality::Greylist if self.counts.is_first_try(address) => Some(b"451 4.7.1 Greylisted, try again later\r\n"),
            Personality::Bounce => Some(b"550 5.1.1 No such user here\r\n"),
            Personality::Full => Some(b"452 4.2.2 Mailbox full\r\n"),
            Personality::Reused if self.messages > 0 => Some(b"421 4.3.2 Not on this connection\r\n"),
            Personality::Unlisted => Some(b"571 Delivery not authorized, message refused\r\n"),
            Personality::Flaky if domain.asked.fetch_add(1, Relaxed) % 10 == 9 => Some(b"451 4.3.0 Try again\r\n"),
            Personality::Busy if !domain.has_room(self.settings.busy_per_second.load(Relaxed)) => {
                Some(if domain.asked.fetch_add(1, Relaxed) % 5 == 4 {
                    b"421 4.7.0 Slow down\r\n"
                } else {
                    b"452 4.3.2 Too many messages\r\n"
                })
            }
            _ => None,
        }
    }

    /// The connection counts for the domain of its last recipient.
    fn turn_to(&mut self, domain: Option<(String, Arc<Domain>)>) {
        if let Some((_, domain)) = &domain {
            domain.enter();
        }
        if let Some((_, before)) = std::mem::replace(&mut self.domain, domain) {
            before.leave();
        }
    }

    fn data(&mut self) -> Next {
        let Some(first) = self.recipients.first() else {
            self.say(if self.sender.is_some() { b"554 5.5.1 No valid recipients\r\n" } else { b"503 5.5.1 MAIL first\r\n" });
            return Next::Command;
        };
        if first.personality == Personality::Drop && self.counts.is_first_try(&first.address) {
            return Next::Close;
        }
        self.say(b"354 go on\r\n");
        Next::Data
    }

    /// Reads up to the final dot and answers it; false: the connection is over.
    async fn message(&mut self) -> io::Result<bool> {
        let mut searched = self.done;
        let end = loop {
            if self.input[self.done..].starts_with(b".\r\n") {
                break self.done;
            }
            // Back by four: the end may be cut anywhere.
            let from = searched.saturating_sub(4).max(self.done);
            if let Some(at) = memchr::memmem::find(&self.input[from..], b"\r\n.\r\n") {
                break from + at + 2;
            }
            if self.input.len() - self.done > LONGEST_MESSAGE {
                self.say(b"552 5.3.4 too big\r\n");
                self.flush().await?;
                return Ok(false);
            }
            searched = self.input.len() - self.done;
            if !self.read().await? {
                return Ok(false);
            }
        };
        let body = self.done..end;
        self.done = end + 3;
        let goes_on = self.judge(body).await?;
        self.forget();
        Ok(goes_on)
    }

    async fn judge(&mut self, body: std::ops::Range<usize>) -> io::Result<bool> {
        let personality = self.recipients.first().map_or(Personality::Plain, |recipient| recipient.personality);
        let load = |setting: &std::sync::atomic::AtomicU64| setting.load(Relaxed);
        let wait = match personality {
            Personality::Slow => load(&self.settings.slow_ms),
            Personality::Tarpit => load(&self.settings.tarpit_ms),
            _ => 0,
        };
        let wait = wait.max(load(&self.settings.delay_ms));
        if wait > 0 {
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        if personality == Personality::Reject {
            self.recipients.iter().for_each(|recipient| _ = recipient.domain.rejected.fetch_add(1, Relaxed));
            self.say(b"554 5.7.1 Message rejected\r\n");
            return Ok(true);
        }
        self.messages += 1;
        let body = &self.input[body];
        let bare_lf = memchr::memchr_iter(b'\n', body).any(|at| at == 0 || body[at - 1] != b'\r');
        let bare_cr = memchr::memchr_iter(b'\r', body).any(|at| body.get(at + 1) != Some(&b'\n'));
        if bare_lf || bare_cr {
            self.counts.protocol_errors.fetch_add(1, Relaxed);
        }
        let plain;
        let message = if body.starts_with(b".") || memchr::memmem::find(body, b"\r\n.").is_some() {
            plain = unstuffed(body);
            &plain
        } else {
            body
        };
        let sender = self.sender.as_deref().unwrap_or_default();
        for recipient in &self.recipients {
            self.counts.receive(message, sender, &recipient.address, &recipient.domain);
        }
        match personality {
            Personality::Mute if self.counts.is_first_try(&self.recipients[0].address) => {
                while self.read().await? {
                    self.done = self.input.len();
                }
                return Ok(false);
            }
            Personality::Latin => self.say(b"250 2.0.0 accept\xe9\r\n"),
            Personality::Long => {
                let line = [b"250-2.0.0 ".as_slice(), &[b'x'; 1000], b"\r\n"].concat();
                (0..64).for_each(|_| self.output.extend_from_slice(&line));
                self.say(b"250 2.0.0 ok\r\n");
            }
            _ => self.say(b"250 2.0.0 ok\r\n"),
        }
        Ok(true)
    }
}

/// What stands between the angle brackets of MAIL and RCPT.
fn path(line: &[u8]) -> Option<String> {
    let start = memchr::memchr(b'<', line)? + 1;
    let end = memchr::memchr(b'>', &line[start..])?;
    Some(String::from_utf8_lossy(&line[start..start + end]).into_owned())
}

fn domain_of(domain: &Option<(String, Arc<Domain>)>) -> &str {
    domain.as_ref().map_or("", |(name, _)| name)
}

fn unstuffed(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        plain.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
    plain
}
