//! What shows from outside that Mochila works: [`client`] speaks its public API, [`demo`] sends a campaign before a person's eyes,
//! [`chaos`] breaks parts while campaigns run, [`load`] measures. [`sink`] stands in for the world's mail servers meanwhile: it takes
//! everything and counts.

pub mod chaos;
pub mod client;
pub mod demo;
pub mod load;
pub mod sink;
