//! Our own SMTP session: one relay, one connection, many messages, one recipient each.
//!
//! Read [`session`] (one message after another and what became of each), then [`relay`] and [`open`] (connect, greeting, EHLO, TLS,
//! AUTH), [`offer`] (what EHLO announced), [`command`] (lines that carry addresses), [`message`] (dot-stuffing), [`wire`] (a reply
//! or a write, each within its time limit), [`reply`] (the parser), [`stream`] and [`tls`] (bytes), [`error`].

mod auth;
mod command;
mod error;
mod message;
mod offer;
mod open;
mod relay;
mod reply;
mod session;
mod stream;
mod tls;
mod wire;

pub use error::{Invalid, OpenError, SessionError, Trouble};
pub use relay::{Relay, TlsMode};
pub use reply::{Malformed, Reply};
pub use session::{Sent, Session};
pub use shared::deliveries::reply::Stage;
pub use tls::Trust;
