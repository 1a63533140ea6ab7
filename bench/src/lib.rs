//! What shows that Mochila works, from outside, over its public API, and what stands in for the world while it does.
//!
//! [`sink`] is the mail server that takes everything and counts, [`dns`] the name server that says what it is told. [`client`] speaks to
//! the API, [`demo`] sends a campaign before a person's eyes, [`chaos`] breaks parts while campaigns run, [`load`] measures.

pub mod chaos;
pub mod client;
pub mod demo;
pub mod dns;
pub mod load;
pub mod sink;
