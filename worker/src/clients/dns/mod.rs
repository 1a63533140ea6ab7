//! Name servers: what records a name has, and what it means if there are none.
//!
//! [`answer`] tells apart what callers must tell apart; [`resolver`] asks, with timeouts and a cache; [`flights`] sees to it that many who
//! ask the same at once cost one look-up.

pub mod answer;
pub mod flights;
pub mod resolver;

pub use answer::{Answer, Exchange, MailExchanges};
pub use resolver::Dns;
