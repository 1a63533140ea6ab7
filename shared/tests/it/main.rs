//! The business on real parts.

mod fairness;
mod ledger;
mod queue;
mod retry;
