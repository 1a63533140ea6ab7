//! What comes back after a mail was handed over: bounces, complaints, unsubscribes.
//!
//! [`fact`] is what one of them says, whoever told it. [`take`] believes it: the delivery's state, the contact, the suppression list, in one
//! transaction, once. [`event`] is the noun that remembers it, [`softly`] the rule that counts soft bounces, [`refusals`] brings what was
//! refused in the SMTP session to the same policy. [`complaints`] watches how many of a campaign's recipients complain.

pub mod complaints;
pub mod event;
pub mod fact;
pub mod refusals;
pub mod softly;
pub mod take;
