//! Relays that break off at a certain step, for every message.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

#[derive(Clone, Copy, PartialEq)]
pub enum Breaks {
    /// Says nothing at all.
    BeforeTheGreeting,
    /// Closes at DATA: it has no message.
    AtData,
    /// Takes the whole message with its dot, and closes.
    AfterTheDot,
}

pub struct BrokenRelay {
    pub port: u16,
    /// Messages that it has, with their dot.
    pub messages: Arc<AtomicU64>,
    pub connections: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl BrokenRelay {
    pub async fn start(breaks: Breaks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (messages, connections) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (taken, met) = (messages.clone(), connections.clone());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a client");
                met.fetch_add(1, Ordering::Relaxed);
                let taken = taken.clone();
                tokio::spawn(async move {
                    // A client that leaves is no event.
                    let _ = converse(stream, breaks, &taken).await;
                });
            }
        });
        Self { port, messages, connections, task }
    }
}

impl Drop for BrokenRelay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(stream: TcpStream, breaks: Breaks, taken: &AtomicU64) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    if breaks == Breaks::BeforeTheGreeting {
        stream.read_line(&mut line).await?;
        return Ok(());
    }
    stream.write_all(b"220 broken.test ESMTP\r\n").await?;
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        if !line.starts_with("DATA") {
            stream.write_all(b"250 ok\r\n").await?;
            continue;
        }
        if breaks == Breaks::AtData {
            return Ok(());
        }
        stream.write_all(b"354 go on\r\n").await?;
        while line != ".\r\n" {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
        }
        taken.fetch_add(1, Ordering::Relaxed);
        return Ok(());
    }
}
