use std::sync::Arc;

use mochila_worker::clients::smtp::{Malformed, OpenError, Relay, Sent, Session, Stage, TlsMode, Trouble, Trust};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{RootCertStore, ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use super::script::{Server, Step, envelope, greet, line, play, say};

/// Takes one message over TLS, after `before` in plain text; its certificate is for localhost.
async fn encrypted(before: Vec<Step>, after: Vec<Step>) -> (u16, Trust, JoinHandle<String>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key))
        .expect("a server");
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a root");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut transcript = play(&mut stream, before).await;
        if let Ok(stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await {
            transcript += &play(stream, after).await;
        }
        transcript
    });
    (port, Trust::in_roots(roots), task)
}

fn relay(port: u16, tls: TlsMode) -> Relay {
    Relay { host: "localhost".to_owned(), tls, ..super::script::relay(port) }
}

fn starttls() -> Vec<Step> {
    let mut steps = greet(&["STARTTLS"]);
    steps.extend([line("STARTTLS\r\n"), say("220 go on\r\n")]);
    steps
}

fn hello_again() -> Vec<Step> {
    greet(&["PIPELINING"]).into_iter().skip(1).collect()
}

fn one_message() -> Vec<Step> {
    let mut steps = envelope();
    steps.extend([say("250 ok\r\n250 ok\r\n354 go on\r\n"), Step::Body, say("250 ok\r\n")]);
    steps
}

async fn takes_a_message(tls: TlsMode, before: Vec<Step>, mut after: Vec<Step>, trusted: bool) {
    after.extend(one_message());
    let (port, trust, server) = encrypted(before, after).await;
    let trust = if trusted { trust } else { Trust::in_roots(RootCertStore::empty()) };
    let mut session = Session::open_trusting(&relay(port, tls), &trust).await.expect("TLS");
    assert!(session.is_encrypted());
    assert!(matches!(session.send("s@a.test", "r@b.test", b"hi").await, Sent::Accepted(_)));
    assert!(server.await.expect("the script is followed").contains("RCPT TO:<r@b.test>"));
}

#[tokio::test]
async fn required_tls_sends_with_a_valid_certificate() {
    takes_a_message(TlsMode::Required, starttls(), hello_again(), true).await;
}

#[tokio::test]
async fn implicit_tls_greets_encrypted() {
    takes_a_message(TlsMode::Implicit, Vec::new(), greet(&["PIPELINING"]), true).await;
}

#[tokio::test]
async fn opportunistic_tls_takes_any_certificate() {
    takes_a_message(TlsMode::Opportunistic, starttls(), hello_again(), false).await;
}

#[tokio::test]
async fn required_tls_refuses_a_certificate_of_an_unknown_authority() {
    let (port, _, server) = encrypted(starttls(), vec![Step::Hang]).await;
    let result = Session::open_trusting(&relay(port, TlsMode::Required), &Trust::in_roots(RootCertStore::empty())).await;
    assert!(matches!(result.err(), Some(OpenError::Tls { .. })));
    assert!(!server.await.expect("the script is followed").contains("MAIL"));
}

#[tokio::test]
async fn required_tls_refuses_a_certificate_for_another_host() {
    let (port, trust, _server) = encrypted(starttls(), vec![Step::Hang]).await;
    let relay = Relay { host: "127.0.0.1".to_owned(), ..relay(port, TlsMode::Required) };
    assert!(matches!(Session::open_trusting(&relay, &trust).await.err(), Some(OpenError::Tls { .. })));
}

#[tokio::test]
async fn required_tls_ends_where_starttls_is_not_offered() {
    let server = Server::start(vec![[greet(&["PIPELINING"]), vec![Step::Hang]].into_iter().flatten().collect()]).await;
    let relay = Relay { tls: TlsMode::Required, username: Some("u".to_owned()), ..server.relay() };
    assert!(matches!(Session::open(&relay).await.err(), Some(OpenError::TlsNotOffered { .. })));
    assert_eq!(server.transcripts().await, ["EHLO mochila.test\r\n"], "nothing is said in plain text");
}

#[tokio::test]
async fn credentials_are_not_told_to_a_server_with_a_wrong_certificate() {
    let modes = [(TlsMode::Required, starttls()), (TlsMode::Opportunistic, starttls()), (TlsMode::Implicit, Vec::new())];
    for (tls, before) in modes {
        // Valid, and for another name.
        let (port, trust, server) = encrypted(before, greet(&["AUTH PLAIN LOGIN"])).await;
        let username = Some("ann".to_owned());
        let password = Some("hunter2".to_owned().into());
        let relay = Relay { host: "127.0.0.1".to_owned(), username, password, ..relay(port, tls) };
        assert!(matches!(Session::open_trusting(&relay, &trust).await.err(), Some(OpenError::Tls { .. })), "{tls:?}");
        let told = server.await.expect("the script is followed");
        assert!(!told.contains("AUTH") && !told.contains("MAIL"), "{tls:?}: {told}");
    }
}

/// A server whose handshake is no TLS.
fn broken() -> Vec<Step> {
    let mut steps = starttls();
    steps.extend([Step::Bytes(1), say("this is not TLS\r\n"), Step::Hang]);
    steps
}

#[tokio::test]
async fn a_broken_handshake_ends_required_tls() {
    let server = Server::start(vec![broken()]).await;
    let relay = Relay { tls: TlsMode::Required, ..server.relay() };
    assert!(matches!(Session::open(&relay).await.err(), Some(OpenError::Tls { .. })));
}

#[tokio::test]
async fn opportunistic_tls_falls_back_to_plain_text_on_a_new_connection() {
    let plain = greet(&["STARTTLS"]).into_iter().chain(one_message_by_steps()).collect();
    let server = Server::start(vec![broken(), plain]).await;
    let relay = Relay { tls: TlsMode::Opportunistic, ..server.relay() };
    let mut session = Session::open(&relay).await.expect("plain text");
    assert!(!session.is_encrypted());
    assert!(matches!(session.send("s@a.test", "r@b.test", b"hi").await, Sent::Accepted(_)));
    assert_eq!(server.transcripts().await.len(), 2);
}

fn one_message_by_steps() -> Vec<Step> {
    let mut steps: Vec<_> = envelope()
        .into_iter()
        .zip(["250 ok\r\n", "250 ok\r\n", "354 go\r\n"])
        .flat_map(|(line, answer)| [line, say(answer)])
        .collect();
    steps.extend([Step::Body, say("250 ok\r\n")]);
    steps
}

#[tokio::test]
async fn credentials_never_fall_back_to_plain_text() {
    let server = Server::start(vec![broken()]).await;
    let relay = Relay { tls: TlsMode::Opportunistic, username: Some("u".to_owned()), ..server.relay() };
    assert_eq!(Session::open(&relay).await.err().map(|error| error.stage()), Some(Stage::Tls));
    assert!(!server.transcripts().await[0].contains("AUTH"));
}

#[tokio::test]
async fn an_answer_that_was_slipped_in_before_tls_is_not_believed() {
    let mut steps = greet(&["STARTTLS"]);
    steps.extend([line("STARTTLS\r\n"), say("220 go on\r\n250 AUTH PLAIN\r\n"), Step::Hang]);
    let server = Server::start(vec![steps]).await;
    let relay = Relay { tls: TlsMode::Required, ..server.relay() };
    let Err(OpenError::Broken(error)) = Session::open(&relay).await else { panic!("it is believed") };
    assert!(matches!(error.trouble, Trouble::Malformed(Malformed::BeforeTls)));
}
