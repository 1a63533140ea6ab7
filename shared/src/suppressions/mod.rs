//! Addresses and domains that get no mail, whatever a list says; and when the house adds one by itself.

pub mod policy;
pub mod suppression;
