//! A mail server that takes mails, throws them away and counts them by Message-ID; some of its domains misbehave.
//!
//! [`personality`] lists how; [`smtp`] is the conversation; [`counts`] is what was seen; [`settings`] can be changed while it runs, over
//! [`http`]. It shares its machine with what is measured, so a message costs it two reads, two writes and a few hash look-ups.

mod counts;
mod http;
mod personality;
mod settings;
mod smtp;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::{net::TcpListener, task::JoinHandle};

pub use counts::{Counts, DomainStats, Received, Stats};
pub use personality::{HELP, Personality};
pub use settings::{Change, Settings};

/// What a sink is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where mails come in; port 0 takes a free one.
    pub smtp: SocketAddr,
    /// Where it is asked; port 0 takes a free one.
    pub http: SocketAddr,
    /// See [`Settings`].
    pub delay_ms: u64,
    /// A line for each received message: time in Unix milliseconds, Message-ID, recipient, by tabs.
    pub log: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { smtp: any, http: any, delay_ms: 0, log: None }
    }
}

/// A sink that runs; it stops taking connections when it is dropped.
pub struct Sink {
    /// Where mails come in.
    pub smtp: SocketAddr,
    /// Where it is asked.
    pub http: SocketAddr,
    /// What it saw.
    pub counts: Arc<Counts>,
    /// How it behaves.
    pub settings: Arc<Settings>,
    tasks: [JoinHandle<()>; 2],
}

impl Sink {
    /// Listens, and serves until it is dropped.
    ///
    /// # Errors
    /// An address that cannot be listened on, a log that cannot be written.
    pub async fn start(options: &Options) -> io::Result<Self> {
        let counts = Arc::new(Counts::new(options.log.as_deref())?);
        let settings = Arc::new(Settings::new(options.delay_ms));
        let smtp = TcpListener::bind(options.smtp).await?;
        let http = TcpListener::bind(options.http).await?;
        let addresses = (smtp.local_addr()?, http.local_addr()?);
        let tasks = [
            tokio::spawn(smtp::listen(smtp, counts.clone(), settings.clone())),
            tokio::spawn(http::listen(http, counts.clone(), settings.clone())),
        ];
        Ok(Self { smtp: addresses.0, http: addresses.1, counts, settings, tasks })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
