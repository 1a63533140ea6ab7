//! One request, however often it is sent: a client puts a key of its own into `Idempotency-Key`, and whatever it sends under that key
//! within a day is done once.
//!
//! [`keyed`] is the table: who may run, what was answered. [`fingerprint`] tells one body from another. [`reserved`] closes the gap between
//! what a run committed and the answer that was never written down.
//!
//! What is kept is an answer of success. A refusal (4xx) or a failure (5xx) has done nothing, so its key is free at once. A run holds a
//! lease that it renews; when its process dies the key is free for the same request 30 s later. That second run finds what the first one
//! had committed: a campaign by its reserved id, everything that is unique (a contact, a list, a user) by a 409 that names it, a state (send,
//! cancel) by a 409 that tells it; an upload loads the same rows again, which changes nothing. What is made twice is a test mail, and a
//! workspace of the same name.

pub mod fingerprint;
pub mod keyed;
pub mod reserved;
