use std::{
    future::Future,
    io,
    time::{Duration, Instant},
};

use shared::deliveries::reply::Stage;
use tokio::{net::TcpStream, time::timeout};

use super::{
    auth,
    error::{OpenError, Trouble},
    offer::Offer,
    relay::{Relay, TlsMode},
    reply::Malformed,
    session::Session,
    stream::Stream,
    tls::Trust,
    wire::Wire,
};

impl Session {
    /// Connects, greets, encrypts as the relay's mode says, and authenticates.
    ///
    /// # Errors
    /// The step that failed; nothing that a recipient is to blame for.
    pub async fn open(relay: &Relay) -> Result<Self, OpenError> {
        Self::open_trusting(relay, Trust::web()).await
    }

    /// The same with other roots than the web's.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub async fn open_trusting(relay: &Relay, trust: &Trust) -> Result<Self, OpenError> {
        let begun = Instant::now();
        let opened = match attempt(relay, trust, relay.tls).await {
            // A broken handshake ends the connection. No credentials were sent and none will be: plain text is what this mode allows.
            Err(error) if relay.tls == TlsMode::Opportunistic && error.stage() == Stage::Tls && relay.username.is_none() => {
                attempt(relay, trust, TlsMode::None).await
            }
            result => result,
        };
        metrics::histogram!("smtp_step_seconds", "step" => "open").record(begun.elapsed().as_secs_f64());
        opened
    }
}

async fn attempt(relay: &Relay, trust: &Trust, tls: TlsMode) -> Result<Session, OpenError> {
    if !relay.hello_name.chars().all(|c| c.is_ascii_graphic()) {
        return Err(OpenError::Unusable { field: "hello_name", value: relay.hello_name.clone() });
    }
    let greeting = Duration::from_secs(relay.timeouts.greeting);
    let command = Duration::from_secs(relay.timeouts.command);

    let tcp = connect(relay).await?;
    let mut wire = Wire::new(if tls == TlsMode::Implicit { encrypt(relay, trust, tcp, true).await? } else { Stream::Plain(tcp) });
    if wire.code(Stage::Greeting, greeting).await? != 220 {
        return Err(OpenError::Refused { stage: Stage::Greeting, reply: wire.reply() });
    }
    let mut offer = hello(&mut wire, relay, command).await?;

    if tls == TlsMode::Required && !offer.starttls {
        return Err(OpenError::TlsNotOffered { host: relay.host.clone() });
    }
    if matches!(tls, TlsMode::Required | TlsMode::Opportunistic) && offer.starttls {
        wire.write(b"STARTTLS\r\n", command).await.map_err(|(_, trouble)| trouble.at(Stage::Tls))?;
        if wire.code(Stage::Tls, command).await? == 220 {
            if wire.has_unread() {
                return Err(Trouble::from(Malformed::BeforeTls).at(Stage::Tls).into());
            }
            let Stream::Plain(tcp) = wire.stream else {
                return Err(OpenError::Tls { host: relay.host.clone(), error: io::Error::other("encrypted already") });
            };
            wire = Wire::new(encrypt(relay, trust, tcp, tls == TlsMode::Required || relay.username.is_some()).await?);
            offer = hello(&mut wire, relay, command).await?;
        } else {
            // Also in the opportunistic mode: whoever cannot do what it offered gets a fresh connection.
            return Err(OpenError::Refused { stage: Stage::Tls, reply: wire.reply() });
        }
    }
    auth::authenticate(&mut wire, &offer, relay).await?;
    Ok(Session::new(wire, offer, &relay.timeouts))
}

async fn connect(relay: &Relay) -> Result<TcpStream, OpenError> {
    let limit = Duration::from_secs(relay.timeouts.connect);
    let connected = within(limit, TcpStream::connect((relay.host.as_str(), relay.port))).await.and_then(|tcp| {
        // Without it the second write of a message waits up to 44 ms for the peer's delayed acknowledgement.
        tcp.set_nodelay(true)?;
        Ok(tcp)
    });
    connected.map_err(|error| OpenError::Connect { host: relay.host.clone(), port: relay.port, error })
}

async fn encrypt(relay: &Relay, trust: &Trust, tcp: TcpStream, verify: bool) -> Result<Stream, OpenError> {
    let limit = Duration::from_secs(relay.timeouts.greeting);
    let stream = within(limit, trust.connect(&relay.host, tcp, verify)).await;
    let stream = stream.map_err(|error| OpenError::Tls { host: relay.host.clone(), error })?;
    Ok(Stream::Tls(Box::new(stream)))
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "timed out")))
}

async fn hello(wire: &mut Wire, relay: &Relay, limit: Duration) -> Result<Offer, OpenError> {
    let literal = if relay.hello_name.is_empty() {
        wire.stream.literal().map_err(|error| Trouble::from(error).at(Stage::Hello))?
    } else {
        relay.hello_name.clone()
    };
    for verb in ["EHLO", "HELO"] {
        let line = format!("{verb} {literal}\r\n");
        wire.write(line.as_bytes(), limit).await.map_err(|(_, trouble)| trouble.at(Stage::Hello))?;
        match wire.code(Stage::Hello, limit).await? {
            250 if verb == "EHLO" => return Ok(Offer::read(wire.lines())),
            250 => return Ok(Offer::default()),
            // Servers that know no EHLO (RFC 5321 section 3.2).
            500 | 501 | 502 | 504 if verb == "EHLO" => {}
            _ => break,
        }
    }
    Err(OpenError::Refused { stage: Stage::Hello, reply: wire.reply() })
}
