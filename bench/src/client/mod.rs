//! The other side of the wire: [`api`] is the public API, [`answers`] are its shapes, [`sink`] the sink's counters, [`metrics`]
//! single figures of a metrics page, [`contacts`] sample contact files.

pub mod answers;
pub mod api;
pub mod contacts;
mod domains;
pub mod metrics;
pub mod sink;
