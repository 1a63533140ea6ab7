//! What comes back after a mail was handed over: bounces, complaints, unsubscribes.
//!
//! [`fact`] is what one of them says, whoever told it. [`take`] believes it: the delivery's state, the contact, the suppression list, in one
//! transaction, once. [`event`] is the noun that remembers it, [`softly`] the rule that counts soft bounces, [`refusals`] brings what was
//! refused in the SMTP session to the same policy. [`complaints`] watches how many of a campaign's recipients complain.
//!
//! [`mail`] is what the listener took, until a job ([`payload`]) has read it: [`notice`] tells what it says, [`references`] which mail of ours a
//! report names.
//! [`source`] says who may tell the same over HTTP, [`providers`] how each signs and what it says, [`post`] is what one has told.

pub mod complaints;
pub mod event;
pub mod fact;
pub mod mail;
pub mod notice;
pub mod payload;
pub mod post;
pub mod providers;
pub mod references;
pub mod refusals;
pub mod softly;
pub mod source;
pub mod take;
