//! The certificate of our own TLS, read again when its files change: whoever renews certificates need not restart us.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use shared::settings::ApiTls;
use tokio::signal::unix::{SignalKind, signal};

/// How often the files are looked at; SIGHUP does it at once.
const LOOK: Duration = Duration::from_secs(60);

/// The certificate in use.
pub struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: RwLock<Current>,
}

struct Current {
    files: [Vec<u8>; 2],
    certified: Arc<CertifiedKey>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("certificate", &self.certificate).field("key", &self.key).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().certified.clone())
    }
}

impl Certificates {
    /// Nothing where the settings name no files.
    ///
    /// # Errors
    /// A sentence that names the setting and the file, never what stands in it.
    pub fn from_settings(settings: &ApiTls) -> Result<Option<Arc<Self>>, String> {
        if settings.certificate.is_empty() {
            return Ok(None);
        }
        let (certificate, key) = (PathBuf::from(&settings.certificate), PathBuf::from(&settings.key));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = RwLock::new(read(&certificate, &key, &provider)?);
        Ok(Some(Arc::new(Self { certificate, key, provider, current })))
    }

    /// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// A sentence; there is no reason for one.
    pub fn config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, String> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS: {error}"))?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Takes the files as they are now. `false`: they have not changed.
    ///
    /// # Errors
    /// A sentence: they are of no use, such as half-way through a renewal. The old certificate stays.
    pub fn reload(&self) -> Result<bool, String> {
        let new = read(&self.certificate, &self.key, &self.provider)?;
        let mut current = self.current.write();
        let changed = current.files != new.files;
        *current = new;
        Ok(changed)
    }

    /// Looks at the files for ever.
    pub async fn watch(self: Arc<Self>) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        let mut told = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = hangup.recv() => {}
            }
            let outcome = self.reload();
            match &outcome {
                Ok(true) => tracing::info!(certificate = %self.certificate.display(), "a new certificate is in use"),
                Ok(false) => {}
                Err(reason) if told.as_ref() != Some(reason) => {
                    tracing::error!(error.full = reason, "the new certificate is of no use; the old one stays");
                }
                Err(_) => {}
            }
            told = outcome.err();
        }
    }
}

fn read(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<Current, String> {
    let bytes = |name: &str, path: &Path| {
        fs::read(path).map_err(|error| format!("settings: api.tls.{name}: cannot read {}: {error}", path.display()))
    };
    let files = [bytes("certificate", certificate)?, bytes("key", key)?];
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&files[0])
        .collect::<Result<_, _>>()
        .map_err(|error| format!("settings: api.tls.certificate: {} is not PEM: {error}", certificate.display()))?;
    if chain.is_empty() {
        return Err(format!("settings: api.tls.certificate: {} holds no certificate", certificate.display()));
    }
    let private = PrivateKeyDer::from_pem_slice(&files[1])
        .map_err(|_| format!("settings: api.tls.key: {} holds no private key in PEM", key.display()))?;
    let certified = CertifiedKey::from_der(chain, private, provider)
        .map_err(|error| format!("settings: api.tls: {} and {} do not fit: {error}", certificate.display(), key.display()))?;
    Ok(Current { files, certified: Arc::new(certified) })
}
