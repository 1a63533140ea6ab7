//! What shows that Mochila works, from outside, over its public API: [`client`] speaks to it, [`demo`] sends a campaign before a
//! person's eyes, [`chaos`] breaks parts while campaigns run, [`load`] measures.

pub mod chaos;
pub mod client;
pub mod demo;
pub mod load;
