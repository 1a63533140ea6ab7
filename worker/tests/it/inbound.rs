//! Mails that come back, over real sockets.

use std::{net::SocketAddr, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use mochila_worker::inbound::server::Server;
use rustls::pki_types::ServerName;
use shared::{
    campaigns::message::message_id,
    deliveries::tally,
    queue::lane::Lane,
    settings::Settings,
    testing::{Fixture, Stage},
    vault::{Links, Origin},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use uuid::Uuid;

use crate::house::House;

/// A listener, and a campaign of sender@example.com whose mails to these contacts were accepted.
pub struct Inn {
    pub house: House,
    pub server: Server,
    pub fixture: Fixture,
    pub contacts: Vec<Uuid>,
}

impl Inn {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut house = House::new().await;
        house.stage.settings.inbound.report_addresses = "FBL@example.com".to_owned();
        change(&mut house.stage.settings);
        let server = Server::start(&house.stage.settings, house.stage.pool.clone(), "127.0.0.1:0").await.expect("a listener");
        let fixture = house.stage.campaign(&[("orchard.test", 3)]).await;
        let campaign_id = fixture.campaign_id;
        house
            .stage
            .arrange(format!(
                "INSERT INTO deliveries (campaign_id, contact_id, chunk_id, lease_epoch, attempt_id, state, attempts, recipient, domain,
                                         first_attempt_at, last_attempt_at)
                 SELECT '{campaign_id}', id, uuid_v7(), 1, 7, 'accepted', 1, email, domain, now(), now() FROM contacts;
                 UPDATE campaigns SET audience = 3, launch_counted = 3 WHERE id = '{campaign_id}'"
            ))
            .await;
        let mut contacts = Vec::new();
        for name in ["sample-1@orchard.test", "sample-2@orchard.test", "sample-3@orchard.test"] {
            contacts.push(house.stage.text("SELECT id::text FROM contacts WHERE email = $1", name).await.parse().expect("an id"));
        }
        Self { house, server, fixture, contacts }
    }

    pub fn stage(&self) -> &Stage {
        &self.house.stage
    }

    fn links(&self) -> Links {
        Links::from_settings(&self.stage().settings).expect("the sample key")
    }

    pub fn return_path(&self, index: usize) -> String {
        let origin = Origin::Delivery { campaign_id: self.fixture.campaign_id, contact_id: self.contacts[index] };
        self.links().return_path("bounces.example.com", origin)
    }

    async fn client(&self) -> Client<TcpStream> {
        let mut client = Client::connect(self.server.address).await;
        assert!(client.reply().await.starts_with("220 "));
        assert!(client.ask("EHLO mx.orchard.test").await.contains("250-PIPELINING"));
        client
    }

    /// Brings a mail; it must be taken.
    async fn bring(&self, from: &str, to: &str, mail: &str) {
        let answer = self.client().await.mail(from, to, mail).await;
        assert!(answer.starts_with("250 "), "{answer}");
    }

    /// Runs a worker until all that was brought has been read.
    pub async fn read_all(&self) {
        let worker = self.house.worker(&[(Lane::Webhooks, 2)]).await;
        let open =
            "SELECT count(*) FROM jobs WHERE kind IN ('ReadNotice', 'ReadPost') AND state IN ('scheduled', 'queued', 'running')";
        for _ in 0..600 {
            if self.stage().number(open, Uuid::nil()).await == 0 {
                worker.stop().await;
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not read within half a minute");
    }

    /// Kinds and states of the mails that came, oldest first.
    async fn mails(&self) -> Vec<String> {
        let told = "SELECT coalesce(string_agg(purpose || ' ' || coalesce(kind, '?') || ' ' || state, ', ' ORDER BY id), '') FROM inbound_mails";
        let told = self.stage().text(told, "").await;
        told.split(", ").map(str::to_owned).collect()
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        self.stage().number(sql, Uuid::nil()).await
    }
}

pub const SUPPRESSED: &str = "SELECT count(*) FROM suppressions";
pub const COMPLAINED: &str = "SELECT count(*) FROM deliveries WHERE complained_at IS NOT NULL";
pub const UNSUBSCRIBED: &str = "SELECT count(*) FROM contacts WHERE state = 'unsubscribed'";
const EVENTS: &str = "SELECT count(*) FROM feedback_events";

/// A client that says what it is told to.
struct Client<S>(S);

impl Client<TcpStream> {
    async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.expect("the listener"))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// One reply, its lines joined; empty at the end of the connection.
    async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            while !line.ends_with("\r\n") {
                match self.0.read_u8().await {
                    Ok(octet) => line.push(char::from(octet)),
                    Err(_) => return reply,
                }
            }
            reply.push_str(&line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return reply;
            }
        }
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("sent");
    }

    async fn ask(&mut self, line: &str) -> String {
        self.send(&format!("{line}\r\n")).await;
        self.reply().await
    }

    async fn mail(&mut self, from: &str, to: &str, mail: &str) -> String {
        for line in [format!("MAIL FROM:<{from}>"), format!("RCPT TO:<{to}>"), "DATA".to_owned()] {
            let reply = self.ask(&line).await;
            if !reply.starts_with(['2', '3']) {
                return reply;
            }
        }
        self.send(mail).await;
        self.ask("\r\n.").await
    }
}

fn pem(what: &str, der: &[u8]) -> String {
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", STANDARD.encode(der))
}

fn dsn(action: &str, status: &str, diagnostic: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.orchard.test\r\nSubject: Undelivered Mail Returned to Sender\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n\
         --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.orchard.test\r\n\r\n\
         Final-Recipient: rfc822; sample-1@orchard.test\r\nAction: {action}\r\nStatus: {status}\r\nDiagnostic-Code: smtp; {diagnostic}\r\n\r\n--b--\r\n"
    )
}

/// A report whose recipient was taken out; `original` are headers of the mail that it is about.
fn arf(original: &str) -> String {
    format!(
        "From: fbl@provider.test\r\nSubject: abuse report\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nReport.\r\n\
         --b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: Provider/1\r\nVersion: 1\r\n\r\n\
         --b\r\nContent-Type: text/rfc822-headers\r\n\r\nFrom: sender@example.com\r\nTo: [redacted]\r\n{original}\r\n\r\n--b--\r\n"
    )
}

#[tokio::test]
async fn a_bounce_is_stored_with_its_job_before_it_is_answered_and_taken_once_though_it_comes_twice() {
    let inn = Inn::new().await;
    let report = dsn("failed", "5.1.1", "550 5.1.1 no such user");
    inn.bring("", &inn.return_path(0), &report).await;
    inn.bring("", &inn.return_path(0).to_uppercase(), &report).await;
    // Whoever sent it forgets it now: no worker has run yet, and the listener may die.
    assert_eq!(inn.mails().await, ["bounce ? received", "bounce ? received"]);
    assert_eq!(
        inn.count("SELECT count(*) FROM jobs WHERE kind = 'ReadNotice' AND lane = 'webhooks' AND state = 'queued'").await,
        2
    );
    inn.read_all().await;
    assert_eq!(inn.mails().await, ["bounce dsn taken", "bounce dsn taken"]);
    assert_eq!((inn.count(EVENTS).await, inn.count(SUPPRESSED).await), (1, 1));
    let tally = tally::count(&inn.stage().pool, inn.fixture.campaign_id).await.expect("a tally");
    assert_eq!((tally.bounced, tally.accepted, Some(tally.sum())), (1, 2, tally.audience));
}

#[tokio::test]
async fn a_delay_an_answer_while_away_and_garbage_change_nothing() {
    let inn = Inn::new().await;
    inn.bring("", &inn.return_path(0), &dsn("delayed", "4.4.1", "451 later")).await;
    inn.bring("ann@orchard.test", &inn.return_path(0), "Subject: I am away\r\n\r\nUntil Monday.\r\n").await;
    inn.bring("", &inn.return_path(0), "\u{0}\u{1}\u{2}").await;
    inn.read_all().await;
    assert_eq!(inn.mails().await, ["bounce dsn taken", "bounce other unusable", "bounce other unusable"]);
    assert_eq!((inn.count(EVENTS).await, inn.count(SUPPRESSED).await), (1, 0));
}

#[tokio::test]
async fn only_our_own_addresses_take_mail_and_a_token_cannot_be_forged() {
    let inn = Inn::new().await;
    let mut other = inn.stage().settings.clone();
    other.secrets.link_key = "c29tZWJvZHkgZWxzZSdzIGtleSwgb2YgMzIgYnl0ZXM=".to_owned().into();
    let origin = Origin::Delivery { campaign_id: inn.fixture.campaign_id, contact_id: inn.contacts[0] };
    let foreign = Links::from_settings(&other).expect("a key").return_path("bounces.example.com", origin);
    let mut forged = inn.return_path(0).into_bytes();
    forged[5] = if forged[5] == b'a' { b'b' } else { b'a' };
    let mut client = inn.client().await;
    assert!(client.ask("MAIL FROM:<>").await.starts_with("250 "));
    for address in ["postmaster@example.com", "sample-1@orchard.test", &foreign, &String::from_utf8(forged).expect("ASCII")] {
        let reply = client.ask(&format!("RCPT TO:<{address}>")).await;
        assert_eq!(reply, "550 5.1.1 there is no such mailbox\r\n", "{address}");
    }
    assert!(client.ask("DATA").await.starts_with("554 "), "nobody is left to take it");
    let mut last = String::new();
    while !last.starts_with("421 ") {
        last = client.ask("RCPT TO:<guess@example.com>").await;
        assert!(!last.is_empty(), "who guesses is told to go");
    }
    assert_eq!(inn.count("SELECT count(*) FROM inbound_mails").await, 0);
}

#[tokio::test]
async fn a_report_is_believed_by_its_return_path_or_by_the_message_id_of_a_mail_that_was_sent() {
    let inn = Inn::new().await;
    let (campaign, contacts) = (inn.fixture.campaign_id, &inn.contacts);
    let id = |contact: Uuid, domain: &str| format!("Message-ID: {}", message_id(campaign, contact, domain));
    inn.bring("", &inn.return_path(0), &arf("Subject: Hello")).await;
    inn.bring("fbl@provider.test", "fbl@EXAMPLE.com", &arf(&id(contacts[1], "example.com"))).await;
    // Nobody's, another sender's, and a mail that is no report.
    inn.bring("fbl@provider.test", "fbl@example.com", &arf(&id(Uuid::now_v7(), "example.com"))).await;
    inn.bring("fbl@provider.test", "fbl@example.com", &arf(&id(contacts[2], "evil.test"))).await;
    inn.bring("", "fbl@example.com", &format!("{}{}", dsn("failed", "5.1.1", "550 no"), id(contacts[2], "example.com"))).await;
    inn.read_all().await;
    let expected =
        ["bounce arf taken", "feedback arf taken", "feedback arf unusable", "feedback arf unusable", "feedback dsn unusable"];
    assert_eq!(inn.mails().await, expected);
    assert_eq!((inn.count(COMPLAINED).await, inn.count(UNSUBSCRIBED).await, inn.count(SUPPRESSED).await), (2, 2, 2));
}

#[tokio::test]
async fn a_transactional_message_comes_back_then_is_called_spam_and_never_goes_back() {
    let inn = Inn::new().await;
    let (workspace_id, sent, open) = (inn.fixture.workspace_id, Uuid::now_v7(), Uuid::now_v7());
    let rows = [(sent, "accepted", 1), (open, "queued", 0)].map(|(id, state, attempts)| {
        format!(
            "INSERT INTO messages (id, workspace_id, state, from_name, from_email, to_name, recipient, domain, subject, text, attempts,
                                   last_attempt_at, expires_at)
             VALUES ('{id}', '{workspace_id}', '{state}', '', 'orders@example.com', '', 'sample-1@orchard.test', 'orchard.test', 'Receipt', 'x',
                     {attempts}, now(), now() + interval '1 hour');"
        )
    });
    inn.stage().arrange(rows.concat()).await;
    let path = |message_id| inn.links().return_path("bounces.example.com", Origin::Message { message_id });
    let told = async || {
        let told = "SELECT m.state || ' ' || m.smtp_code || ': ' || string_agg(e.kind, ', ' ORDER BY e.id)
                    FROM messages m JOIN message_events e ON e.message_id = m.id GROUP BY m.id";
        inn.stage().text(told, "").await
    };
    // One that was not sent yet cannot have come back.
    inn.bring("", &path(open), &dsn("failed", "5.1.1", "550 5.1.1 no such user")).await;
    inn.bring("", &path(sent), &dsn("failed", "4.2.2", "452 4.2.2 mailbox full")).await;
    inn.read_all().await;
    assert_eq!((told().await.as_str(), inn.count(SUPPRESSED).await), ("bounced 452: bounced", 0));
    let id = format!("Message-ID: {}", shared::messages::message::message_id(sent, "example.com"));
    let foreign = format!("Message-ID: {}", shared::messages::message::message_id(sent, "evil.test"));
    inn.bring("fbl@provider.test", "fbl@example.com", &arf(&foreign)).await;
    inn.bring("fbl@provider.test", "fbl@example.com", &arf(&id)).await;
    inn.bring("fbl@provider.test", "fbl@example.com", &arf(&id)).await;
    inn.bring("", &path(sent), &dsn("failed", "5.1.1", "550 5.1.1 no such user")).await;
    inn.read_all().await;
    assert_eq!(told().await, "complained 452: bounced, complained");
    let expected = [
        "bounce dsn unusable",
        "bounce dsn taken",
        "feedback arf unusable",
        "feedback arf taken",
        "feedback arf taken",
        "bounce dsn taken",
    ];
    assert_eq!(inn.mails().await, expected);
    assert_eq!((inn.count(UNSUBSCRIBED).await, inn.count(SUPPRESSED).await, inn.count(COMPLAINED).await), (1, 1, 0));
}

#[tokio::test]
async fn a_mail_to_the_unsubscribe_address_unsubscribes_and_a_bounce_to_it_does_not() {
    let inn = Inn::new().await;
    let address = |index: usize| {
        let contact = inn.contacts[index];
        inn.links().unsubscribe_mailbox("bounces.example.com", inn.fixture.campaign_id, contact)
    };
    inn.bring("sample-1@orchard.test", &address(0), "Subject: unsubscribe\r\n\r\n").await;
    inn.bring("", &address(1), &dsn("failed", "5.1.1", "550 no")).await;
    inn.read_all().await;
    assert_eq!(inn.mails().await, ["unsubscribe unsubscribe taken", "unsubscribe unsubscribe unusable"]);
    assert_eq!((inn.count(UNSUBSCRIBED).await, inn.count(SUPPRESSED).await), (1, 1));
}

#[tokio::test]
async fn a_mail_that_is_too_large_is_refused_and_the_next_one_is_taken() {
    let inn = Inn::with(|settings| settings.inbound.max_message_bytes = 2_000).await;
    let mut client = inn.client().await;
    assert_eq!(client.ask("MAIL FROM:<> SIZE=2001").await, "552 5.3.4 the message is too large\r\n");
    let path = inn.return_path(0);
    assert_eq!(client.mail("", &path, &"x".repeat(5_000)).await, "552 5.3.4 the message is too large\r\n");
    assert!(client.mail("", &path, &dsn("failed", "5.1.1", "550 no")).await.starts_with("250 "));
    assert_eq!(inn.count("SELECT count(*) FROM inbound_mails").await, 1);
}

#[tokio::test]
async fn a_bare_line_feed_ends_neither_a_mail_nor_a_command() {
    let inn = Inn::new().await;
    let path = inn.return_path(0);
    let smuggled = format!("a\n.\nMAIL FROM:<>\nRCPT TO:<{path}>\nb\n.\r\nDATA\r\n.\nc\r.\r\nd");
    let mut client = inn.client().await;
    assert!(client.mail("", &path, &smuggled).await.starts_with("250 "));
    assert_eq!(client.ask("NOOP").await, "250 2.0.0 ok\r\n", "nothing of the mail was taken for commands");
    assert_eq!(inn.count("SELECT count(*) FROM inbound_mails").await, 1);
    client.send("NOOP\n").await;
    assert_eq!(client.reply().await, "500 5.5.2 a line ends with CR LF\r\n");
    assert_eq!(client.reply().await, "", "and the connection is closed");
    let mut client = inn.client().await;
    client.send(&"x".repeat(10_000)).await;
    assert_eq!(client.reply().await, "500 5.5.2 the line is too long\r\n");
}

#[tokio::test]
async fn a_whole_conversation_in_one_packet_is_answered_in_order() {
    let inn = Inn::new().await;
    let mut client = inn.client().await;
    let path = inn.return_path(0);
    client.send(&format!("RSET\r\nVRFY ann\r\nAUTH PLAIN x\r\nMAIL FROM:<>\r\nRCPT TO:<{path}>\r\nRCPT TO:<nobody@example.com>\r\nDATA\r\n..a\r\n.\r\nQUIT\r\n")).await;
    let mut codes = Vec::new();
    loop {
        let reply = client.reply().await;
        if reply.is_empty() {
            break;
        }
        codes.push(reply[..3].to_owned());
    }
    assert_eq!(codes, ["250", "252", "502", "250", "250", "550", "354", "250", "221"]);
    assert_eq!(inn.stage().text("SELECT convert_from(raw, 'UTF8') FROM inbound_mails", "").await, ".a\r\n");
}

#[tokio::test]
async fn lmtp_answers_for_each_recipient() {
    let inn = Inn::with(|settings| settings.inbound.lmtp = true).await;
    let mut client = Client::connect(inn.server.address).await;
    assert!(client.reply().await.ends_with(" LMTP\r\n"));
    assert!(client.ask("EHLO a").await.starts_with("500 "));
    assert!(client.ask("LHLO a").await.starts_with("250-"));
    let (one, two) = (inn.return_path(0), inn.return_path(1));
    client.send(&format!("MAIL FROM:<>\r\nRCPT TO:<{one}>\r\nRCPT TO:<{two}>\r\nRCPT TO:<{one}>\r\nDATA\r\n")).await;
    for expected in ["250", "250", "250", "250", "354"] {
        assert_eq!(&client.reply().await[..3], expected);
    }
    client.send("Subject: x\r\n\r\n.\r\n").await;
    assert_eq!((client.reply().await, client.reply().await), ("250 2.0.0 taken\r\n".to_owned(), "250 2.0.0 taken\r\n".to_owned()));
    assert_eq!(inn.count("SELECT count(*) FROM inbound_mails").await, 2, "one for each of them");
    assert_eq!(client.ask("NOOP").await, "250 2.0.0 ok\r\n");
}

#[tokio::test]
async fn what_was_sent_in_the_clear_behind_starttls_does_not_count() {
    let folder = std::env::temp_dir().join(Uuid::now_v7().simple().to_string());
    std::fs::create_dir_all(&folder).expect("a folder");
    let own = rcgen::generate_simple_self_signed(["mx.example.com".to_owned()]).expect("a certificate");
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, pem("CERTIFICATE", own.cert.der())).expect("written");
    std::fs::write(&key, pem("PRIVATE KEY", &own.signing_key.serialize_der())).expect("written");
    let inn = Inn::with(|settings| {
        settings.inbound.certificate = certificate.display().to_string();
        settings.inbound.key = key.display().to_string();
    })
    .await;
    let mut client = Client::connect(inn.server.address).await;
    client.reply().await;
    assert!(client.ask("EHLO a").await.contains("250-STARTTLS"));
    client.send("STARTTLS\r\nMAIL FROM:<injected@example.com>\r\n").await;
    assert!(client.reply().await.starts_with("220 "));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(own.cert.der().clone()).expect("a root");
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("mx.example.com").expect("a name");
    let tls = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config)).connect(name, client.0).await.expect("encrypted");
    let mut client = Client(tls);
    assert!(client.ask("MAIL FROM:<>").await.starts_with("503 "), "the greeting of before is forgotten too");
    assert!(!client.ask("EHLO a").await.contains("STARTTLS"));
    assert!(client.mail("", &inn.return_path(0), "Subject: x\r\n").await.starts_with("250 "));
    assert_eq!(inn.stage().text("SELECT sender FROM inbound_mails", "").await, "");
}

#[tokio::test]
async fn one_client_cannot_take_all_connections_nor_bring_mails_without_end() {
    let inn = Inn::with(|settings| {
        settings.inbound.connections_per_address = 2;
        settings.inbound.mails_per_minute = 1;
    })
    .await;
    let (mut one, _two) = (inn.client().await, inn.client().await);
    let mut third = Client::connect(inn.server.address).await;
    assert_eq!(third.reply().await, "421 4.7.0 too many connections\r\n");
    assert!(one.ask("MAIL FROM:<>").await.starts_with("250 "));
    assert!(one.ask("RSET").await.starts_with("250 "));
    assert_eq!(one.ask("MAIL FROM:<>").await, "450 4.7.0 too many mails in a minute\r\n");
}

#[tokio::test]
async fn a_mail_that_cannot_be_stored_is_put_off_and_not_answered_for() {
    let inn = Inn::new().await;
    let mut client = inn.client().await;
    inn.stage().execute("ALTER TABLE inbound_mails RENAME TO elsewhere").await;
    assert_eq!(client.mail("", &inn.return_path(0), "Subject: x\r\n").await, "451 4.3.0 it cannot be stored just now\r\n");
    inn.stage().execute("ALTER TABLE elsewhere RENAME TO inbound_mails").await;
    assert!(client.mail("", &inn.return_path(0), "Subject: x\r\n").await.starts_with("250 "));
    let Inn { server, .. } = inn;
    server.stop().await;
    assert!(client.ask("NOOP").await.starts_with("421 "), "who is there is told");
}
