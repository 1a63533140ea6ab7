//! Reads the files of a deployment, so that tests can hold them against the binaries, the settings and a live scrape.
//!
//! Start with [`files`]: where they are. [`settings`] knows the names that `MOCHILA_…` variables may have, [`environment`] reads
//! `.env.example`, [`image`] the Dockerfile, [`query`] PromQL and [`scrape`] what `/metrics` answers.

pub mod environment;
pub mod files;
pub mod image;
pub mod query;
pub mod scrape;
pub mod settings;
