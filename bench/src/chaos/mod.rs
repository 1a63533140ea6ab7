//! The fault suite: real processes, real signals, campaigns that are under way. Read [`scenario`] (what is done and what is
//! checked), then [`fault`] (how a part is broken), [`lab`] (the parts), [`process`] (one of them), [`watch`] (the balance, sampled all
//! along), [`imports`] (the same for a file on its way in), [`verdict`] (what was found), [`redis`] (the few words spoken to it).

pub mod fault;
pub mod imports;
pub mod lab;
pub mod process;
pub mod redis;
pub mod scenario;
pub mod suite;
pub mod verdict;
pub mod watch;
