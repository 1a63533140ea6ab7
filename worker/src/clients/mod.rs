//! What speaks to the world outside the house.
//!
//! [`smtp`] hands mails to relays.

pub mod smtp;
