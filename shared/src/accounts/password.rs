//! Passwords: argon2id with the parameters that OWASP recommends (19 MiB, 2 passes, the crate's default), off the async threads, as
//! many at a time as there are cores and with a short queue before them: a storm of log-ins is turned away, and takes neither the
//! memory nor the cores of everything else.

use std::{
    collections::HashSet,
    sync::{Arc, LazyLock},
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};

/// Who waits, for each one that works.
const WAITING: usize = 8;
/// Seconds after which it is worth another try when all places are taken.
const BUSY_SECONDS: u64 = 2;

static COMMON: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    include_str!("common_passwords.txt").lines().filter(|line| !line.is_empty() && !line.starts_with("# ")).collect()
});

/// Hashes and verifies; cheap to clone, one per process.
#[derive(Clone)]
pub struct Passwords {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    dummy: Arc<str>,
}

/// A place in the queue. What it is used for is done in its turn.
pub struct Place {
    turns: Arc<Semaphore>,
    dummy: Arc<str>,
    place: OwnedSemaphorePermit,
}

/// Checks a new password against the rules: 8 to 128 characters, none of those that everybody takes, not the name before the @.
///
/// # Errors
/// [`Error::Invalid`] names `field`.
pub fn check(field: &'static str, password: &str, email: &str) -> Result<()> {
    let characters = password.chars().count();
    if !(8..=128).contains(&characters) {
        return Err(Error::invalid(field, format!("must have 8 to 128 characters, not {characters}")));
    }
    let lower = password.to_lowercase();
    if COMMON.contains(lower.as_str()) {
        return Err(Error::invalid(field, "is among the passwords that are guessed first"));
    }
    let local = email.rsplit_once('@').map_or(email, |(local, _)| local);
    if lower == local.to_lowercase() || lower == email.to_lowercase() {
        return Err(Error::invalid(field, "is the e-mail address, which is guessed first"));
    }
    Ok(())
}

impl Passwords {
    /// Ready to work.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn new() -> Result<Self> {
        Self::with_turns(std::thread::available_parallelism().map_or(2, usize::from))
    }

    /// Ready to do so many at a time.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn with_turns(at_once: usize) -> Result<Self> {
        Ok(Self {
            places: Arc::new(Semaphore::new(at_once * (1 + WAITING))),
            turns: Arc::new(Semaphore::new(at_once)),
            dummy: hash("nobody's password")?.into(),
        })
    }

    /// A place in the queue, at once.
    ///
    /// # Errors
    /// [`Error::Busy`]: all are taken.
    pub fn enter(&self) -> Result<Place> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Error::Busy { what: "too many passwords are being checked", retry_after_seconds: BUSY_SECONDS })?;
        Ok(Place { turns: Arc::clone(&self.turns), dummy: Arc::clone(&self.dummy), place })
    }

    /// The hash of a new password, in PHC string format; it is held against the rules first.
    ///
    /// # Errors
    /// As [`check`] and [`Passwords::enter`].
    pub async fn hash(&self, field: &'static str, password: &str, email: &str) -> Result<String> {
        check(field, password, email)?;
        let password = password.to_owned();
        self.enter()?.work(move || hash(&password)).await?
    }
}

impl Place {
    /// Whether `password` is the one behind `stored`. Without a stored hash a dummy is verified, which takes as long, and the answer
    /// is no: whoever asks cannot tell by the time whether the user exists.
    ///
    /// # Errors
    /// The stored hash is malformed.
    pub async fn verify(self, password: &str, stored: Option<&str>) -> Result<bool> {
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

    async fn work<T: Send + 'static>(self, task: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let Self { turns, place, .. } = self;
        let turn = turns.acquire_owned().await.map_err(Error::internal)?;
        // Both end with the work and not with whoever asked for it: a client that hangs up frees nothing that is still in use.
        let worked = tokio::task::spawn_blocking(move || {
            let done = task();
            drop((turn, place));
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
        let stored = passwords.hash("password", "correct horse", "ann@example.com").await.expect("a hash");
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(passwords.enter().expect("a place").verify("correct horse", Some(&stored)).await.expect("verified"));
        assert!(!passwords.enter().expect("a place").verify("wrong horse", Some(&stored)).await.expect("verified"));
    }

    #[tokio::test]
    async fn nobody_has_the_dummy_password() {
        let passwords = Passwords::new().expect("randomness");
        assert!(!passwords.enter().expect("a place").verify("nobody's password", None).await.expect("verified"));
    }

    #[test]
    fn a_password_that_is_short_long_common_or_the_address_is_refused() {
        let refused = |password: &str| check("password", password, "Ada.Lovelace@example.com").expect_err(password).to_string();
        assert_eq!(refused("seven77"), "password: must have 8 to 128 characters, not 7");
        assert_eq!(refused(&"x".repeat(129)), "password: must have 8 to 128 characters, not 129");
        for common in ["12345678", "Password1", "BASEBALL", "iloveyou"] {
            assert_eq!(refused(common), "password: is among the passwords that are guessed first");
        }
        for own in ["ada.lovelace", "Ada.Lovelace@Example.com"] {
            assert_eq!(refused(own), "password: is the e-mail address, which is guessed first");
        }
        assert!(COMMON.len() > 10_000);
    }

    #[test]
    fn length_counts_characters_and_not_bytes() {
        for good in ["åäöåäöåä".to_owned(), "日".repeat(128), "eight ch".to_owned()] {
            assert!(check("password", &good, "ada@example.com").is_ok(), "{good}");
        }
        assert!(check("password", &"日".repeat(7), "ada@example.com").is_err());
    }

    #[tokio::test]
    async fn whoever_finds_the_queue_full_is_turned_away_until_a_place_is_free() {
        let passwords = Passwords::with_turns(1).expect("randomness");
        let mut places: Vec<Place> = (0..=WAITING).map(|_| passwords.enter().expect("a place")).collect();
        assert!(matches!(passwords.enter(), Err(Error::Busy { retry_after_seconds: BUSY_SECONDS, .. })));
        places.pop();
        assert!(passwords.enter().is_ok());
    }
}
