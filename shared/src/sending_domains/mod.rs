//! The domains that mail may come from: who owns them, what their DNS must say, and the keys that sign for them.
//!
//! Read [`sending_domain`] (the noun) and [`dkim_key`] (its keys), then [`records`] (what is to be published) with [`sources`] (which
//! servers send for it). A verification ([`payload`], in line by itself through [`due`]) makes a list of [`check`]s; [`verdict`] is the
//! rule that makes a state of them. [`usable`] is what others ask: whether mail may come from a domain. [`identity`] is as whom a mail goes
//! out, and [`signing`] puts the signatures on it.

pub mod check;
pub mod dkim_key;
pub mod due;
pub mod identity;
pub mod payload;
pub mod records;
pub mod sending_domain;
pub mod signing;
pub mod sources;
pub mod usable;
pub mod verdict;
