//! The business on real parts.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod architecture;
mod contacts;
mod fairness;
mod feedback;
mod idempotency;
mod identity;
mod keys;
mod ledger;
mod members;
mod membership;
mod operations;
mod queue;
mod retention;
mod retry;
mod route_health;
mod sending_domains;
mod transactions;
