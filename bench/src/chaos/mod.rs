//! The fault suite: real processes, real signals, campaigns that are under way. Read [`scenario`] (what is done and what is
//! checked), then [`fault`] (how a part is broken), [`lab`] (the parts), [`process`] (one of them), [`watch`] (the balance, sampled all
//! along), [`imports`] (the same for a file on its way in), [`arrivals`] (what the sinks took), [`relays`] (one of two relays is killed), [`rates`] (a rate that workers share), [`verdict`] (what was found), [`redis`] (the few words spoken to it).

pub mod arrivals;
pub mod fault;
pub mod imports;
pub mod lab;
pub mod process;
pub mod rates;
pub mod redis;
pub mod relays;
pub mod scenario;
pub mod suite;
pub mod verdict;
pub mod watch;
