//! What an SMTP server answers. The first byte says in pieces of which length it comes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| mochila_fuzz::smtp_reply(data));
