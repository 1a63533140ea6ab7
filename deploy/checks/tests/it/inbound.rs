//! The listener for what comes back, as a process that dies.

use std::process::Stdio;

use shared::vault::{Links, Origin};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use uuid::Uuid;

use crate::house::House;

/// One conversation.
struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(address: &str) -> Self {
        let mut client = Self(BufReader::new(TcpStream::connect(address).await.expect("the listener")));
        assert!(client.reply().await.starts_with("220 "));
        client
    }

    /// The last line of a reply.
    async fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await.expect("a line");
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }

    async fn say(&mut self, text: &str) -> String {
        self.0.write_all(text.as_bytes()).await.expect("sent");
        self.reply().await
    }

    /// Everything before the dot of a mail.
    async fn begin(&mut self, to: &str) {
        assert!(self.say("EHLO mx.orchard.test\r\n").await.starts_with("250 "));
        assert!(self.say("MAIL FROM:<>\r\n").await.starts_with("250 "));
        assert!(self.say(&format!("RCPT TO:<{to}>\r\n")).await.starts_with("250 "));
        assert!(self.say("DATA\r\n").await.starts_with("354 "));
        self.0.write_all(b"From: MAILER-DAEMON@mx.orchard.test\r\nSubject: Undelivered\r\n\r\nSorry.\r\n").await.expect("sent");
    }
}

#[tokio::test]
async fn a_mail_that_was_answered_for_outlives_kill_and_one_that_was_not_is_the_senders_still() {
    let house = House::new().await;
    let mut command = house.program("mochila-worker");
    // It takes mail in; what reads it comes later.
    command.env("MOCHILA_INBOUND__LISTEN", "127.0.0.1:0").arg("--lanes").arg("bulk").stdout(Stdio::piped());
    let mut process = command.spawn().expect("it starts");
    let mut lines = BufReader::new(process.stdout.take().expect("its log")).lines();
    let address = loop {
        let line = lines.next_line().await.expect("text").expect("it ended before it listened");
        let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(address) = said["inbound.listen"].as_str() {
            break address.to_owned();
        }
    };
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let links = Links::from_settings(&house.stage.settings).expect("the sample key");
    let path = links.return_path("bounces.example.com", Origin::Message { message_id: Uuid::now_v7() });

    let (mut half, mut whole) = (Client::connect(&address).await, Client::connect(&address).await);
    half.begin(&path).await;
    whole.begin(&path).await;
    assert!(whole.say(".\r\n").await.starts_with("250 "));
    process.kill().await.expect("it ran");

    let mails = "SELECT count(*) FROM inbound_mails WHERE state = 'received'";
    assert_eq!(house.stage.number(mails, Uuid::nil()).await, 1);
    let worker = house.worker().await;
    house.until(Uuid::nil(), mails, |left| left == 0).await;
    worker.kill().await;
    assert_eq!(house.stage.number("SELECT count(*) FROM inbound_mails", Uuid::nil()).await, 1);
}
