//! deliveries

pub mod reply;
