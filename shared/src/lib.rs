//! The business of Mochila: what both binaries know. A folder is a domain, a file is plumbing.
//!
//! Read in this order: [`queue`] (jobs, leases, tickets), [`campaigns`] (what is sent), [`deliveries`] (the ledger: to whom it was
//! sent), [`bounces`] (what a mail tells of one that did not arrive), [`messages`] (mail to one person), [`feedback`] (what came back), [`routes`] (by which way), [`sending_domains`]
//! (from where), [`contacts`], [`suppressions`] and [`imports`] (to whom), [`accounts`] (by whom), [`members`] (how they
//! come in), [`operations`] (by whose leave), [`idempotency`] (once).
//! Plumbing: [`settings`], [`database`], [`keyspace`] (Redis), [`keyring`] (keys with ids), [`clock`], [`error`], [`gathering`] (look-ups that share a statement), [`page`], [`vault`] (secrets at rest, signed links), [`address`]
//! (e-mail addresses), [`allowance`] (requests a minute), [`store`] (files), [`version`]
//! (what a change expects), [`telemetry`] (logs and metrics).

pub mod accounts;
pub mod address;
pub mod allowance;
pub mod bounces;
pub mod campaigns;
pub mod clock;
pub mod contacts;
pub mod database;
pub mod deliveries;
pub mod error;
pub mod feedback;
pub mod gathering;
pub mod idempotency;
pub mod imports;
pub mod keyring;
pub mod keyspace;
pub mod members;
pub mod messages;
pub mod operations;
pub mod page;
pub mod queue;
pub mod readiness;
pub mod routes;
pub mod sending_domains;
pub mod settings;
pub mod store;
pub mod suppressions;
pub mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod vault;
pub mod version;

pub use sqlx::PgPool;
