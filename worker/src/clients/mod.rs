//! What speaks to the world outside the house.
//!
//! [`smtp`] hands mails to relays, [`dns`] asks name servers.

pub mod dns;
pub mod smtp;
