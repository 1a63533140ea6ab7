//! A mail server that does what a test tells it, step by step, over a real socket.

use mochila_worker::clients::smtp::{Relay, Session, TlsMode};
use shared::settings::Timeouts;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

pub enum Step {
    /// Writes it.
    Say(Vec<u8>),
    /// Writes it byte by byte, each in a packet of its own.
    Drip(Vec<u8>),
    /// Reads a line, which must begin so.
    Line(&'static str),
    /// The same, and nothing may have come after it.
    OnlyLine(&'static str),
    /// Reads up to the line with the dot.
    Body,
    /// Reads so many bytes.
    Bytes(usize),
    /// Says nothing more until the client has gone, and keeps what it writes.
    Hang,
}

pub fn say(text: &str) -> Step {
    Step::Say(text.as_bytes().to_vec())
}

pub const fn line(start: &'static str) -> Step {
    Step::Line(start)
}

/// Banner and EHLO of a server that offers these.
pub fn greet(offers: &[&str]) -> Vec<Step> {
    let lines: String = offers.iter().map(|offer| format!("250-{offer}\r\n")).collect();
    vec![say("220 script.test ESMTP\r\n"), line("EHLO mochila.test"), say(&format!("250-script.test\r\n{lines}250 HELP\r\n"))]
}

/// The three commands in a row, before any answer.
pub fn envelope() -> Vec<Step> {
    vec![line("MAIL FROM:<s@a.test>"), line("RCPT TO:<r@b.test>"), line("DATA\r\n")]
}

/// A server with a script per connection; its lines as they came, per connection.
pub struct Server {
    pub port: u16,
    task: JoinHandle<Vec<String>>,
}

impl Server {
    pub async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let task = tokio::spawn(async move {
            let mut transcripts = Vec::new();
            for script in scripts {
                let (stream, _) = listener.accept().await.expect("a client");
                stream.set_nodelay(true).expect("a socket");
                transcripts.push(play(stream, script).await);
            }
            transcripts
        });
        Self { port, task }
    }

    pub async fn open(&self) -> Session {
        Session::open(&self.relay()).await.expect("the script greets")
    }

    pub fn relay(&self) -> Relay {
        relay(self.port)
    }

    /// What each connection was told; fails if it was not what the script expects.
    pub async fn transcripts(self) -> Vec<String> {
        self.task.await.expect("the client follows the script")
    }
}

pub fn relay(port: u16) -> Relay {
    Relay {
        host: "127.0.0.1".to_owned(),
        port,
        tls: TlsMode::None,
        username: None,
        password: None,
        hello_name: "mochila.test".to_owned(),
        timeouts: Timeouts { connect: 10, greeting: 10, command: 10, data: 10, final_dot: 10 },
    }
}

pub async fn play(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: Vec<Step>) -> String {
    let mut transcript = Vec::new();
    let mut pending = Vec::new();
    for step in script {
        match step {
            Step::Say(bytes) => {
                stream.write_all(&bytes).await.expect("the client is there");
                stream.flush().await.expect("the client is there");
            }
            Step::Drip(bytes) => {
                for byte in bytes {
                    stream.write_all(&[byte]).await.expect("the client is there");
                    stream.flush().await.expect("the client is there");
                    tokio::task::yield_now().await;
                }
            }
            Step::Line(start) | Step::OnlyLine(start) => {
                let line = take(&mut stream, &mut pending, b"\r\n").await;
                assert!(line.starts_with(start.as_bytes()), "{start:?} was to come, not {:?}", String::from_utf8_lossy(&line));
                assert!(pending.is_empty() || matches!(step, Step::Line(_)), "the client did not wait for the answer to {start}");
                transcript.extend(line);
            }
            Step::Body => transcript.extend(take(&mut stream, &mut pending, b"\r\n.\r\n").await),
            Step::Bytes(count) => {
                while pending.len() < count {
                    assert_ne!(stream.read_buf(&mut pending).await.expect("the client is there"), 0, "the client left");
                }
            }
            Step::Hang => {
                // A reset is a way of leaving, too.
                let _ = stream.read_to_end(&mut pending).await;
                transcript.append(&mut pending);
            }
        }
    }
    String::from_utf8_lossy(&transcript).into_owned()
}

async fn take(stream: &mut (impl AsyncRead + Unpin), pending: &mut Vec<u8>, end: &[u8]) -> Vec<u8> {
    loop {
        if let Some(at) = pending.windows(end.len()).position(|window| window == end) {
            let rest = pending.split_off(at + end.len());
            return std::mem::replace(pending, rest);
        }
        let count = stream.read_buf(pending).await.expect("the client is there");
        assert_ne!(count, 0, "the client left after {:?}", String::from_utf8_lossy(pending));
    }
}
