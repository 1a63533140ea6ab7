//! The fields of a delivery report, inside a report that is whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mochila_fuzz::{bounces, holds};

const HEAD: &[u8] = b"From: MAILER-DAEMON@mx.example.test\nTo: b-7f3a@bounces.sender.test\nSubject: Undelivered Mail\nContent-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\n\n--b\n\nYour message could not be delivered.\n\n--b\nContent-Type: message/delivery-status\n\n";
const TAIL: &[u8] = b"\n--b\nContent-Type: text/rfc822-headers\n\nMessage-ID: <1@sender.test>\nTo: ada@example.com\n\n--b--\n";

fuzz_target!(|data: &[u8]| {
    holds(&bounces::parse(&[HEAD, data, TAIL].concat()));
});
