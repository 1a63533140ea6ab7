//! The business on real parts.

mod architecture;
mod fairness;
mod ledger;
mod queue;
mod retry;
