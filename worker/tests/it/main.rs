//! The worker on real parts: PostgreSQL, Redis, SMTP over a socket.

mod dns;
mod doctor;
mod house;
mod inbound;
mod ledger;
mod members;
mod messages;
mod operations;
mod posts;
mod relay;
mod routes;
mod sending;
mod sending_domains;
mod session;
mod shaping;
mod signatures;
mod signing;
mod source_to_sink;
mod spf;
mod telemetry;
