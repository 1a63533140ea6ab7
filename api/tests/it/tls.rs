use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use mochila_api::{
    AppState,
    front::{listener::Listener, tls::Certificates},
    router,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use shared::{
    database,
    settings::{Api, ApiTls},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::app::TestApp;

/// Writes a certificate for localhost and its key; answers the certificate.
fn certify(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    fs::create_dir_all(folder).expect("a folder");
    fs::write(folder.join("certificate.pem"), pem("CERTIFICATE", made.cert.der())).expect("written");
    fs::write(folder.join("key.pem"), pem("PRIVATE KEY", &made.signing_key.serialize_der())).expect("written");
    made.cert.der().clone()
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn files(folder: &Path) -> ApiTls {
    let name = |file: &str| folder.join(file).to_str().expect("a path").to_owned();
    ApiTls { certificate: name("certificate.pem"), key: name("key.pem") }
}

/// A front on a port of its own.
struct Open {
    app: TestApp,
    address: SocketAddr,
    certificates: Option<Arc<Certificates>>,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Open {
    async fn new(change: impl FnOnce(&mut Api)) -> Self {
        let app = TestApp::new().await;
        let mut api = app.stage.settings.api.clone();
        api.listen = "127.0.0.1:0".to_owned();
        change(&mut api);
        let listener = Listener::bind(&api).await.expect("a port");
        let (address, certificates, stop) =
            (listener.address().expect("an address"), listener.certificates(), CancellationToken::new());
        let served = tokio::spawn(listener.serve(router(app.state.clone()), stop.clone()));
        Self { app, address, certificates, stop, served }
    }

    async fn shaken(&self, trusted: &CertificateDer<'static>, alpn: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").expect("a name"), stream).await
    }

    async fn ended(self) {
        self.stop.cancel();
        self.served.await.expect("served to the end");
    }
}

fn folder(app_prefix: &str) -> PathBuf {
    std::env::temp_dir().join(format!("{app_prefix}-{}", uuid::Uuid::now_v7().simple()))
}

async fn health(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) -> String {
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.expect("written");
    let mut answer = Vec::new();
    // A server that closes without saying so is not worth an error here.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).expect("text").to_lowercase()
}

#[tokio::test]
async fn our_own_tls_speaks_both_protocols_and_asks_for_https_from_then_on() {
    let folder = folder("tls");
    let certificate = certify(&folder);
    let open = Open::new(|api| api.tls = files(&folder)).await;
    let mut stream = open.shaken(&certificate, &[b"http/1.1"]).await.expect("a handshake");
    let answer = health(&mut stream).await;
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    assert!(answer.contains("strict-transport-security: max-age=31536000"), "{answer}");
    let stream = open.shaken(&certificate, &[b"h2", b"http/1.1"]).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    drop(stream);
    open.ended().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_up_and_a_broken_one_is_not() {
    let folder = folder("tls");
    let old = certify(&folder);
    let open = Open::new(|api| api.tls = files(&folder)).await;
    let certificates = open.certificates.clone().expect("certificates");
    assert_eq!(certificates.reload(), Ok(false));
    let old_key = fs::read(folder.join("key.pem")).expect("a key");
    let new = certify(&folder);
    let new_key = fs::read(folder.join("key.pem")).expect("a key");
    // Half-way through a renewal: the chain is new, the key is old.
    fs::write(folder.join("key.pem"), old_key).expect("written");
    assert!(certificates.reload().expect_err("they do not fit").contains("do not fit"));
    open.shaken(&old, &[]).await.expect("the old one stays");
    fs::write(folder.join("key.pem"), new_key).expect("written");
    assert_eq!(certificates.reload(), Ok(true));
    open.shaken(&new, &[]).await.expect("the new one");
    assert!(open.shaken(&old, &[]).await.is_err());
    open.ended().await;
}

#[tokio::test]
async fn a_certificate_of_no_use_is_refused_at_the_start() {
    let folder = folder("tls");
    certify(&folder);
    fs::write(folder.join("key.pem"), "not a key").expect("written");
    let error = Certificates::from_settings(&files(&folder)).expect_err("no key");
    assert_eq!(error, format!("settings: api.tls.key: {} holds no private key in PEM", folder.join("key.pem").display()));
    let nowhere = ApiTls { certificate: "/nowhere.pem".to_owned(), key: "/nowhere.key".to_owned() };
    assert!(
        Certificates::from_settings(&nowhere)
            .expect_err("no file")
            .starts_with("settings: api.tls.certificate: cannot read /nowhere.pem")
    );
}

#[tokio::test]
async fn a_head_that_never_ends_and_a_line_that_says_nothing_are_closed() {
    let open = Open::new(|api| {
        api.header_seconds = 1;
        api.idle_seconds = 1;
    })
    .await;
    let mut drip = TcpStream::connect(open.address).await.expect("a connection");
    drip.write_all(b"GET /health HTTP/1.1\r\nHost: local").await.expect("written");
    let mut silent = TcpStream::connect(open.address).await.expect("a connection");
    let mut rest = Vec::new();
    let closed = async {
        let _ = drip.read_to_end(&mut rest).await;
        let _ = silent.read_to_end(&mut rest).await;
    };
    tokio::time::timeout(Duration::from_secs(60), closed).await.expect("both are closed");
    open.ended().await;
}

#[tokio::test]
async fn a_request_that_is_under_way_is_answered_when_the_process_stops_and_streams_end() {
    let open = Open::new(|_| {}).await;
    let state: AppState = open.app.state.clone();
    let ann = open.app.somebody().await;
    let list = open.app.post(&ann, "/lists", serde_json::json!({ "name": "Customers" })).await.expect(201)["id"].clone();
    let id: uuid::Uuid = list.as_str().and_then(|id| id.parse().ok()).expect("an id");
    let mut held = database::begin(&open.app.stage.pool).await.expect("a transaction");
    shared::contacts::list::hold(&mut held, shared::accounts::scope::Scope::client(ann.workspace_id), id).await.expect("held");
    let mut stream = TcpStream::connect(open.address).await.expect("a connection");
    let request = format!("DELETE /api/v1/lists/{id} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", ann.token);
    stream.write_all(request.as_bytes()).await.expect("written");
    // The handler waits for the list: then the process is asked to stop.
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND $1::uuid IS NOT NULL";
    while open.app.stage.number(waits, id).await == 0 {
        tokio::task::yield_now().await;
    }
    open.stop.cancel();
    state.stopping.cancel();
    held.rollback().await.expect("let go");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    let address = open.address;
    open.ended().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn connections_beyond_the_most_wait_for_a_seat() {
    let open = Open::new(|api| api.max_connections = 1).await;
    let first = TcpStream::connect(open.address).await.expect("a connection");
    let mut second = TcpStream::connect(open.address).await.expect("a place in the queue");
    let mut answered = std::pin::pin!(health(&mut second));
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut answered).await.is_err());
    drop(first);
    assert!(answered.await.starts_with("http/1.1 200"));
    open.ended().await;
}
