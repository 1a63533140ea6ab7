//! What is asked of Amazon about posts of SNS: the certificate that signed one, and to confirm a subscription. Addresses come from the
//! rules of `shared::feedback::providers::ses`, which let nobody else's through.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use url::Url;

/// Octets of an answer.
const LONGEST: usize = 64 * 1024;
/// Seconds that an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Certificates that are remembered.
const REMEMBERED: usize = 32;

/// Fetches an address.
pub trait Fetch: Send + Sync {
    /// The body of a good answer.
    fn get(&self, url: Url) -> BoxFuture<'static, Result<Vec<u8>, String>>;
}

/// Over HTTPS, without redirects.
pub struct Https(reqwest::Client);

impl Https {
    /// A client of its own.
    ///
    /// # Errors
    /// It cannot be made; there is no reason for it.
    pub fn new() -> Result<Self, String> {
        let client =
            reqwest::Client::builder().https_only(true).redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).build();
        client.map(Self).map_err(|error| format!("a client of HTTPS: {error}"))
    }
}

impl Fetch for Https {
    fn get(&self, url: Url) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        let request = self.0.get(url);
        Box::pin(async move {
            let mut answer =
                request.send().await.and_then(reqwest::Response::error_for_status).map_err(|error| error.to_string())?;
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(|error| error.to_string())? {
                body.extend_from_slice(&chunk);
                if body.len() > LONGEST {
                    return Err(format!("the answer is longer than {LONGEST} octets"));
                }
            }
            Ok(body)
        })
    }
}

/// Amazon, and the keys of its certificates.
pub struct Amazon {
    fetch: Arc<dyn Fetch>,
    keys: Mutex<HashMap<Url, Arc<[u8]>>>,
}

impl Amazon {
    /// Asks by this.
    #[must_use]
    pub fn new(fetch: Arc<dyn Fetch>) -> Self {
        Self { fetch, keys: Mutex::default() }
    }

    /// The key of the certificate at this address (`SubjectPublicKeyInfo`).
    ///
    /// # Errors
    /// It cannot be fetched, or is no certificate.
    pub async fn key(&self, url: Url) -> Result<Arc<[u8]>, String> {
        if let Some(known) = self.keys.lock().get(&url) {
            return Ok(known.clone());
        }
        let pem = self.fetch.get(url.clone()).await?;
        let certificate = CertificateDer::from_pem_slice(&pem).map_err(|error| format!("{url} is no certificate: {error}"))?;
        let read = webpki::EndEntityCert::try_from(&certificate).map_err(|error| format!("{url} is no certificate: {error}"))?;
        let key: Arc<[u8]> = read.subject_public_key_info().as_ref().into();
        let mut keys = self.keys.lock();
        if keys.len() >= REMEMBERED {
            keys.clear();
        }
        keys.insert(url, key.clone());
        Ok(key)
    }

    /// Confirms a subscription by looking at its address.
    ///
    /// # Errors
    /// Amazon does not answer.
    pub async fn confirm(&self, url: Url) -> Result<(), String> {
        self.fetch.get(url).await.map(|_| ())
    }
}
