//! Bodies of webhooks: JSON by itself, and in the mail that Amazon sends it in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mochila_fuzz::{bounces, holds};

const HEAD: &[u8] = b"From: Notices <no-reply@sns.example.test>\nTo: ops@sender.test\nSubject: AWS Notification Message\nContent-Type: text/plain; charset=UTF-8\n\n";

fuzz_target!(|data: &[u8]| {
    let _ = serde_json::from_slice::<serde_json::Value>(data);
    holds(&bounces::parse(&[HEAD, data].concat()));
});
