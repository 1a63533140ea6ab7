//! Whole mails, and files of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mochila_fuzz::{bounces, holds};

fuzz_target!(|data: &[u8]| {
    let messages = bounces::mbox::messages(data);
    assert_eq!(messages.concat(), data);
    for message in messages {
        holds(&bounces::parse(message));
    }
});
