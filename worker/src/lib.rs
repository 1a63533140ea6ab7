//! Runs what was queued and what is due.
//!
//! [`clients`] speaks to the world outside: mail servers.

pub mod clients;
