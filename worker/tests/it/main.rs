//! The worker on real parts: PostgreSQL, Redis, SMTP over a socket.

mod house;
mod members;
mod ledger;
mod operations;
mod relay;
mod routes;
mod sending;
mod session;
