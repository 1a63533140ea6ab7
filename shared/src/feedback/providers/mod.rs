//! What providers post: how each signs, and what it says. Rules without SQL.
//!
//! [`check`] decides whether a post is a provider's and how it is told from another one; [`told`] reads one that was. A file a provider.

use std::fmt;

use aws_lc_rs::{constant_time, digest, hmac};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::{fact::What, source::Kind};

pub mod generic;
pub mod mailgun;
pub mod postmark;
pub mod sendgrid;
pub mod ses;

/// Providers post again for hours what they could not deliver, under its first time.
const PATIENCE: TimeDelta = TimeDelta::days(1);
/// A clock may be ahead of ours by so much.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// Why a post is not believed. The words are for the log, and for who sets a webhook up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub &'static str);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What a provider said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What happened.
    pub what: What,
    /// The event as it stands in the post: our Message-ID or return path is somewhere in it.
    pub event: String,
}

/// What a post says. Nothing: it is not as this provider writes.
#[must_use]
pub fn told(kind: Kind, body: &[u8]) -> Option<Vec<Told>> {
    let value: Value = serde_json::from_slice(body).ok()?;
    match kind {
        Kind::Ses => ses::told(&value),
        Kind::Sendgrid => sendgrid::told(&value),
        Kind::Mailgun => mailgun::told(&value),
        Kind::Postmark => postmark::told(&value),
        Kind::Generic => generic::told(&value),
    }
}

/// Whether a time of the provider is one that we take posts of.
fn in_time(at: Option<DateTime<Utc>>, now: DateTime<Utc>, patience: TimeDelta) -> Result<(), Refusal> {
    let at = at.ok_or(Refusal("its timestamp is not a time"))?;
    if now - at > patience {
        return Err(Refusal("it is too old: it may be a replay"));
    }
    if at - now > AHEAD {
        return Err(Refusal("its timestamp is ahead of time"));
    }
    Ok(())
}

/// Seconds of the epoch, as most providers write it.
fn seconds(text: &str) -> Option<DateTime<Utc>> {
    text.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0))
}

/// Whether `hex` is the HMAC-SHA256 of `signed`; compares in constant time.
fn is_hmac(secret: &[u8], signed: &[u8], hex: &str) -> bool {
    let expected = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed);
    unhex(hex).is_some_and(|given| constant_time::verify_slices_are_equal(expected.as_ref(), &given).is_ok())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

/// A text at this place of a JSON value.
fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}
