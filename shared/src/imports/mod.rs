//! imports

pub mod records;
