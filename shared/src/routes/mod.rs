//! Routes: the ways by which mail leaves.

pub mod usable;
