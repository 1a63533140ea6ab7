//! The fields of a complaint and the message in it; whatever they are, the report stays a complaint.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mochila_fuzz::{bounces, holds};

const HEAD: &[u8] = b"From: feedback@loop.example.test\nContent-Type: multipart/report; report-type=feedback-report; boundary=\"b\"\n\n--b\nContent-Type: message/feedback-report\n\n";
const MIDDLE: &[u8] = b"\n--b\nContent-Type: message/rfc822\n\n";

fuzz_target!(|data: &[u8]| {
    let (fields, message) = data.split_at(data.iter().position(|byte| *byte == 0).unwrap_or(data.len()));
    let notice = bounces::parse(&[HEAD, fields, MIDDLE, message].concat());
    assert_eq!(notice.kind, bounces::Kind::Arf);
    holds(&notice);
});
