//! Passwords: argon2id with the parameters that OWASP recommends (19 MiB, 2 passes, the crate's default), off the async threads and
//! two at a time, so that a storm of log-ins takes neither the memory nor the cores of everything else.

use std::sync::Arc;

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::Semaphore;

use crate::error::{Error, Result};

const AT_ONCE: usize = 2;

/// Hashes and verifies; cheap to clone, one per process.
#[derive(Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    dummy: Arc<str>,
}

impl Passwords {
    /// Ready to work.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn new() -> Result<Self> {
        Ok(Self { turns: Arc::new(Semaphore::new(AT_ONCE)), dummy: hash("nobody's password")?.into() })
    }

    /// The hash of a new password, in PHC string format.
    ///
    /// # Errors
    /// [`Error::Invalid`]: not 8 to 128 characters.
    pub async fn hash(&self, password: &str) -> Result<String> {
        let characters = password.chars().count();
        if !(8..=128).contains(&characters) {
            return Err(Error::invalid("password", format!("must have 8 to 128 characters, not {characters}")));
        }
        let password = password.to_owned();
        self.work(move || hash(&password)).await?
    }

    /// Whether `password` is the one behind `stored`. Without a stored hash a dummy is verified, which takes as long, and the answer
    /// is no: whoever asks cannot tell by the time whether the user exists.
    ///
    /// # Errors
    /// The stored hash is malformed.
    pub async fn verify(&self, password: &str, stored: Option<&str>) -> Result<bool> {
        let known = stored.is_some();
        let (password, stored) = (password.to_owned(), stored.unwrap_or(&self.dummy).to_owned());
        let matches = self
            .work(move || {
                let parsed = PasswordHash::new(&stored).map_err(|error| Error::internal(format!("a password hash: {error}")))?;
                Ok::<_, Error>(Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok())
            })
            .await??;
        Ok(known && matches)
    }

    async fn work<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(Error::internal)?;
        let worked = tokio::task::spawn_blocking(move || {
            let done = task();
            drop(turn);
            done
        });
        worked.await.map_err(Error::internal)
    }
}

fn hash(password: &str) -> Result<String> {
    let hashed: PasswordHash = Argon2::default().hash_password(password.as_bytes()).map_err(Error::internal)?;
    Ok(hashed.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_verifies_against_its_own_hash_alone() {
        let passwords = Passwords::new().expect("randomness");
        let stored = passwords.hash("correct horse").await.expect("a hash");
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(passwords.verify("correct horse", Some(&stored)).await.expect("verified"));
        assert!(!passwords.verify("wrong horse", Some(&stored)).await.expect("verified"));
    }

    #[tokio::test]
    async fn nobody_has_the_dummy_password() {
        let passwords = Passwords::new().expect("randomness");
        assert!(!passwords.verify("nobody's password", None).await.expect("verified"));
    }

    #[tokio::test]
    async fn a_short_password_is_refused() {
        let error = Passwords::new().expect("randomness").hash("seven77").await.expect_err("short");
        assert_eq!(error.to_string(), "password: must have 8 to 128 characters, not 7");
    }
}
