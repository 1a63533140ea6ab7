//! A name server on loopback, over UDP and TCP, that says what it is told to.
//!
//! [`zones`] is what it knows and how it misbehaves, [`server`] serves it, [`publisher`] fills it for the local stack. It is authoritative for everything: what it was not told is
//! NXDOMAIN.

mod publisher;
mod server;
mod zones;

pub use publisher::Publisher;
pub use server::Server;
pub use zones::{Behaviour, Kind, Listener, Zones};
