//! The certificate of STARTTLS, read again when its files change.

use std::{fmt, fs, path::PathBuf, sync::Arc};

use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use shared::settings::Inbound;
use tokio_rustls::TlsAcceptor;

/// The certificate in use.
pub struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().clone())
    }
}

impl Certificates {
    /// Nothing where the settings name no files.
    ///
    /// # Errors
    /// A sentence that names the setting and the file, never what stands in it.
    pub fn from_settings(settings: &Inbound) -> Result<Option<Arc<Self>>, String> {
        if settings.certificate.is_empty() {
            return Ok(None);
        }
        let (certificate, key) = (PathBuf::from(&settings.certificate), PathBuf::from(&settings.key));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = RwLock::new(read(&certificate, &key, &provider)?);
        Ok(Some(Arc::new(Self { certificate, key, provider, current })))
    }

    /// Takes the files as they are now; the old certificate stays where they are of no use.
    pub fn reload(&self) {
        match read(&self.certificate, &self.key, &self.provider) {
            Ok(current) => *self.current.write() = current,
            Err(reason) => tracing::error!(error.full = reason, "the new certificate is of no use; the old one stays"),
        }
    }

    /// TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// A sentence; there is no reason for one.
    pub fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, String> {
        let config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS: {error}"))?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn read(certificate: &PathBuf, key: &PathBuf, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, String> {
    let bytes = |name: &str, path: &PathBuf| {
        fs::read(path).map_err(|error| format!("settings: inbound.{name}: cannot read {}: {error}", path.display()))
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes("certificate", certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("settings: inbound.certificate: {} is not PEM: {error}", certificate.display()))?;
    let private = PrivateKeyDer::from_pem_slice(&bytes("key", key)?)
        .map_err(|_| format!("settings: inbound.key: {} holds no private key in PEM", key.display()))?;
    let certified = CertifiedKey::from_der(chain, private, provider)
        .map_err(|error| format!("settings: inbound: {} and {} do not fit: {error}", certificate.display(), key.display()))?;
    Ok(Arc::new(certified))
}
