//! What the processor allows: signatures a second of threads that do nothing else, made by the library that the worker signs with.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};

/// How long is measured.
const FOR: Duration = Duration::from_secs(2);
/// About the octets that a signature covers.
const COVERED: [u8; 1_000] = [b'm'; 1_000];

/// Messages a second that could be signed with all of `keys`, named as signatures name them, if all cores did nothing else.
///
/// # Errors
/// There is no such key, or the library failed.
pub fn bound(keys: &[String]) -> Result<f64> {
    let signs = keys.iter().map(|key| signer(key)).collect::<Result<Vec<_>>>()?;
    let (signs, over, made) = (&signs, AtomicBool::new(false), AtomicU64::new(0));
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    signs.iter().for_each(|sign| sign());
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        thread::sleep(FOR);
        over.store(true, Ordering::Relaxed);
    });
    let made = u32::try_from(made.into_inner()).context("more than can be")?;
    Ok(f64::from(made) / begun.elapsed().as_secs_f64())
}

type Sign = Box<dyn Fn() + Send + Sync>;

fn signer(key: &str) -> Result<Sign> {
    match key {
        "rsa-sha256" => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).context("no RSA key")?;
            let random = SystemRandom::new();
            let length = pair.public_modulus_len();
            Ok(Box::new(move || {
                let mut signature = vec![0; length];
                pair.sign(&RSA_PKCS1_SHA256, &random, &COVERED, &mut signature).expect("a signature");
                std::hint::black_box(signature);
            }))
        }
        "ed25519-sha256" => {
            let pair = Ed25519KeyPair::generate().context("no Ed25519 key")?;
            Ok(Box::new(move || {
                std::hint::black_box(pair.sign(&COVERED));
            }))
        }
        other => anyhow::bail!("{other:?} is no signature that a domain makes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_keys_sign_and_others_are_refused() {
        for key in ["rsa-sha256", "ed25519-sha256"] {
            signer(key).expect("a key")();
        }
        assert!(signer("rsa-sha1").is_err());
    }
}
