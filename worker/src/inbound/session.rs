//! A conversation with one client: SMTP (RFC 5321) or LMTP (RFC 2033), as much of it as a server needs that only takes what comes back.

use std::{
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use shared::{
    PgPool,
    feedback::mail::{self, Mailbox, Received},
    vault::Links,
};
use tokio::{io::AsyncWriteExt, time::timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    command::{self, Command},
    limits::Limits,
    reader::{Data, Line, Reader},
    wire::Wire,
};

/// Mistakes after which a client is sent away: wrong commands, and recipients that are not ours.
const MOST_MISTAKES: u32 = 20;
/// Recipients of one mail: a notice has one.
const MOST_RECIPIENTS: usize = 20;

/// What all sessions share.
pub struct House {
    /// Where mails are stored.
    pub pool: PgPool,
    /// Reads the tokens of recipients.
    pub links: Links,
    /// Addresses that are registered for reports, in lower case.
    pub reports: Vec<String>,
    /// What we call ourselves.
    pub name: String,
    /// LMTP rather than SMTP.
    pub lmtp: bool,
    /// Octets of a mail.
    pub largest: usize,
    /// A client that says nothing for so long is sent away.
    pub idle: Duration,
    /// A mail's data may take so long.
    pub data: Duration,
    /// By client.
    pub limits: Limits,
    /// For STARTTLS.
    pub tls: Option<TlsAcceptor>,
    /// The process ends.
    pub closing: CancellationToken,
}

/// Where the conversation is.
pub struct Session {
    house: Arc<House>,
    client: IpAddr,
    reader: Reader,
    greeted: bool,
    sender: Option<String>,
    recipients: Vec<(String, Mailbox)>,
    mistakes: u32,
}

/// How it goes on.
enum Next {
    Go,
    StartTls,
    Close,
}

impl Session {
    /// With nothing said.
    #[must_use]
    pub fn new(house: Arc<House>, client: IpAddr) -> Self {
        Self { house, client, reader: Reader::default(), greeted: false, sender: None, recipients: Vec::new(), mistakes: 0 }
    }

    /// Speaks until one of both ends it.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn run(mut self, mut wire: Wire) -> io::Result<()> {
        let house = self.house.clone();
        let protocol = if house.lmtp { "LMTP" } else { "ESMTP" };
        self.say(&mut wire, &format!("220 {} {protocol}", house.name)).await?;
        loop {
            let line = tokio::select! {
                line = timeout(house.idle, self.reader.line(&mut wire)) => line,
                () = house.closing.cancelled() => return self.say(&mut wire, "421 4.3.2 going down").await,
            };
            let Ok(line) = line else { return self.say(&mut wire, "421 4.4.2 nothing was said for too long").await };
            let next = match line? {
                Line::End => return Ok(()),
                Line::Whole(line) => self.answer(&mut wire, command::read(&line)).await?,
                Line::TooLong => {
                    self.say(&mut wire, "500 5.5.2 the line is too long").await?;
                    Next::Close
                }
                Line::Bare => {
                    self.say(&mut wire, "500 5.5.2 a line ends with CR LF").await?;
                    Next::Close
                }
            };
            match next {
                Next::Go if self.mistakes >= MOST_MISTAKES => return self.say(&mut wire, "421 4.7.0 too many mistakes").await,
                Next::Go => {}
                Next::StartTls => wire = self.encrypt(wire).await?,
                Next::Close => return wire.shutdown().await,
            }
        }
    }

    async fn answer(&mut self, wire: &mut Wire, command: Command) -> io::Result<Next> {
        let lmtp = self.house.lmtp;
        let text = match command {
            Command::Ehlo if !lmtp => return self.hello(wire, true).await,
            Command::Lhlo if lmtp => return self.hello(wire, true).await,
            Command::Helo if !lmtp => return self.hello(wire, false).await,
            Command::Mail { sender, size } => self.mail(sender, size),
            Command::Recipient(address) => self.recipient(address),
            Command::Data => return self.data(wire).await,
            Command::Reset => {
                self.reset();
                "250 2.0.0 forgotten"
            }
            Command::Noop => "250 2.0.0 ok",
            Command::Verify => "252 2.5.0 send mail, and see",
            Command::Quit => {
                self.say(wire, "221 2.0.0 bye").await?;
                return Ok(Next::Close);
            }
            Command::StartTls if self.house.tls.is_some() && matches!(wire, Wire::Plain(_)) => {
                self.say(wire, "220 2.0.0 go ahead").await?;
                return Ok(Next::StartTls);
            }
            Command::StartTls | Command::NotOffered => self.mistake("502 5.5.1 that is not offered"),
            Command::Wrong(answer) => self.mistake(answer),
            Command::Helo | Command::Ehlo | Command::Lhlo | Command::Unknown => self.mistake("500 5.5.1 that is no command here"),
        };
        self.say(wire, text).await?;
        Ok(Next::Go)
    }

    async fn hello(&mut self, wire: &mut Wire, extended: bool) -> io::Result<Next> {
        self.reset();
        self.greeted = true;
        let house = &self.house;
        if !extended {
            let text = format!("250 {}", house.name);
            self.say(wire, &text).await?;
            return Ok(Next::Go);
        }
        let tls = if house.tls.is_some() && matches!(wire, Wire::Plain(_)) { "250-STARTTLS\r\n" } else { "" };
        let text = format!(
            "250-{}\r\n250-PIPELINING\r\n250-SIZE {}\r\n{tls}250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES",
            house.name, house.largest
        );
        self.say(wire, &text).await?;
        Ok(Next::Go)
    }

    fn mail(&mut self, sender: String, size: Option<u64>) -> &'static str {
        if !self.greeted || self.sender.is_some() {
            return self.mistake("503 5.5.1 not now");
        }
        if size.is_some_and(|size| size > self.house.largest as u64) {
            return "552 5.3.4 the message is too large";
        }
        if !self.house.limits.mail(self.client, Instant::now()) {
            metrics::counter!("inbound_refused_total", "reason" => "rate").increment(1);
            return "450 4.7.0 too many mails in a minute";
        }
        self.sender = Some(sender);
        "250 2.1.0 ok"
    }

    fn recipient(&mut self, address: String) -> &'static str {
        if self.sender.is_none() {
            return self.mistake("503 5.5.1 MAIL comes first");
        }
        if self.recipients.len() >= MOST_RECIPIENTS {
            return "452 4.5.3 too many recipients";
        }
        match Mailbox::read(&self.house.links, &self.house.reports, &address) {
            Some(mailbox) => {
                if !self.recipients.iter().any(|(known, _)| known.eq_ignore_ascii_case(&address)) {
                    self.recipients.push((address, mailbox));
                }
                "250 2.1.5 ok"
            }
            None => {
                metrics::counter!("inbound_refused_total", "reason" => "recipient").increment(1);
                self.mistake("550 5.1.1 there is no such mailbox")
            }
        }
    }

    async fn data(&mut self, wire: &mut Wire) -> io::Result<Next> {
        if self.recipients.is_empty() {
            let text =
                self.mistake(if self.sender.is_some() { "554 5.5.1 no valid recipients" } else { "503 5.5.1 MAIL comes first" });
            self.say(wire, text).await?;
            return Ok(Next::Go);
        }
        self.say(wire, "354 end with a dot on a line of its own").await?;
        let house = self.house.clone();
        let Ok(data) = timeout(house.data, self.reader.data(wire, house.largest)).await else {
            self.say(wire, "421 4.4.2 the data took too long").await?;
            return Ok(Next::Close);
        };
        let (sender, recipients) = (self.sender.take().unwrap_or_default(), std::mem::take(&mut self.recipients));
        let answers = if house.lmtp { recipients.len() } else { 1 };
        let text = match data? {
            Data::End => return Ok(Next::Close),
            Data::TooLarge => {
                metrics::counter!("inbound_refused_total", "reason" => "size").increment(1);
                "552 5.3.4 the message is too large"
            }
            Data::Whole(raw) => {
                let purposes: Vec<&'static str> = recipients.iter().map(|(_, mailbox)| mailbox.purpose()).collect();
                let mail = Received { sender, recipients, client: self.client.to_string(), raw };
                match mail::store(&house.pool, &mail).await {
                    Ok(_) => {
                        for purpose in purposes {
                            metrics::counter!("inbound_mails_total", "purpose" => purpose).increment(1);
                        }
                        "250 2.0.0 taken"
                    }
                    Err(error) => {
                        metrics::counter!("inbound_refused_total", "reason" => "storage").increment(1);
                        tracing::warn!(error = %error, "a mail could not be stored; it comes again");
                        "451 4.3.0 it cannot be stored just now"
                    }
                }
            }
        };
        for _ in 0..answers {
            self.say(wire, text).await?;
        }
        Ok(Next::Go)
    }

    async fn encrypt(&mut self, wire: Wire) -> io::Result<Wire> {
        let (Wire::Plain(tcp), Some(tls)) = (wire, &self.house.tls) else {
            return Err(io::Error::other("TLS is begun once"));
        };
        // What was sent in the clear behind STARTTLS is somebody else's.
        self.reader.forget();
        let encrypted = timeout(self.house.idle, tls.accept(tcp)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.reset();
        self.greeted = false;
        Ok(Wire::Tls(Box::new(encrypted)))
    }

    fn reset(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }

    fn mistake(&mut self, answer: &'static str) -> &'static str {
        self.mistakes += 1;
        answer
    }

    async fn say(&self, wire: &mut Wire, text: &str) -> io::Result<()> {
        let line = format!("{text}\r\n");
        timeout(self.house.idle, async {
            wire.write_all(line.as_bytes()).await?;
            wire.flush().await
        })
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}
