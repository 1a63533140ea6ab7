use std::{
    io,
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Whose certificates are believed. Made once a process: building it parses every root.
#[derive(Clone)]
pub struct Trust {
    verified: Arc<ClientConfig>,
    unverified: Arc<ClientConfig>,
}

impl Trust {
    /// The roots of the web (Mozilla's list).
    pub fn web() -> &'static Self {
        static WEB: OnceLock<Trust> = OnceLock::new();
        WEB.get_or_init(|| Self::in_roots(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()))
    }

    /// These roots alone: a private authority, or a test's.
    #[must_use]
    pub fn in_roots(roots: RootCertStore) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let blind = Arc::new(AnyCertificate(provider.signature_verification_algorithms));
        let verified = versions(&provider).with_root_certificates(roots).with_no_client_auth();
        let unverified = versions(&provider).dangerous().with_custom_certificate_verifier(blind).with_no_client_auth();
        Self { verified: Arc::new(verified), unverified: Arc::new(unverified) }
    }

    /// Handshake; `verify`: the certificate must be valid for `host`.
    pub(super) async fn connect(&self, host: &str, stream: TcpStream, verify: bool) -> io::Result<TlsStream<TcpStream>> {
        let config = if verify { &self.verified } else { &self.unverified };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        TlsConnector::from(config.clone()).connect(name, stream).await
    }
}

fn versions(provider: &Arc<CryptoProvider>) -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs serves TLS 1.2 and 1.3")
}

/// Opportunistic TLS keeps out who only listens: any certificate will do (RFC 7435), but its signature must be right.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
