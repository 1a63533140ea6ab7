//! How many messages a second our sessions hand to a server that does nothing else: the ceiling of a sending rate.
//!
//! `cargo run --release -p mochila-worker --example session_rate -- 127.0.0.1:2525 50 200000 2048`: address, connections, messages, bytes.

use std::{net::SocketAddr, time::Instant};

use mochila_worker::clients::smtp::{Relay, Sent, Session, TlsMode};
use shared::settings::Timeouts;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr = arguments.next().ok_or("address, connections, messages, bytes")?.parse()?;
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (connections, messages, bytes) = (number(50)?, number(100_000)?, number(2048)?);

    let line = format!("{}\r\n", "x".repeat(70));
    let body = line.repeat(bytes / line.len() + 1);
    let start = Instant::now();
    let mut tasks = Vec::new();
    for connection in 0..connections {
        let body = body.clone();
        tasks.push(tokio::spawn(async move {
            let mut session = Session::open(&relay(address)).await.map_err(|error| error.to_string())?;
            let mut message = String::new();
            for number in (connection..messages).step_by(connections) {
                message.clear();
                message.push_str(&format!("Message-ID: <{number}@rate.test>\r\nSubject: rate\r\n\r\n"));
                message.push_str(&body);
                match session.send("s@rate.test", "r@rate.test", message.as_bytes()).await {
                    Sent::Accepted(_) => {}
                    other => return Err(format!("{other:?}")),
                }
            }
            session.quit().await;
            Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{messages} messages of {bytes} bytes over {connections} connections: {:.0} a second", messages as f64 / seconds);
    Ok(())
}

fn relay(address: SocketAddr) -> Relay {
    Relay {
        host: address.ip().to_string(),
        port: address.port(),
        tls: TlsMode::None,
        username: None,
        password: None,
        hello_name: String::new(),
        timeouts: Timeouts { connect: 10, greeting: 10, command: 60, data: 60, final_dot: 60 },
    }
}
