//! The listener for what comes back: a small SMTP or LMTP server that takes mail for our return paths and unsubscribe addresses alone.
//!
//! [`server`] accepts connections within [`limits`], [`session`] speaks with one: lines and data come from [`reader`], [`command`] reads a
//! line. A mail is answered for once it is stored with its job (`shared::feedback::mail`); what it says is that job's matter.

pub mod command;
pub mod limits;
pub mod reader;
pub mod server;
pub mod session;
pub mod tls;
pub mod wire;
