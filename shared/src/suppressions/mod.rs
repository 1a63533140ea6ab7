//! Whom a workspace never writes to, whatever its lists say. [`suppression`] is the noun.

pub mod suppression;
