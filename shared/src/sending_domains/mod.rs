//! The domains that mail may come from: who owns them, what their DNS must say, and the keys that sign for them.
//!
//! Read [`sending_domain`] (the noun) and [`dkim_key`] (its keys), then [`records`] (what is to be published). [`identity`] is as whom a
//! mail goes out, and [`signing`] puts the signatures on it.

pub mod dkim_key;
pub mod identity;
pub mod signing;
