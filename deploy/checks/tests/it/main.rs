//! The files of a deployment against the real thing: the binaries, the settings, a live scrape.

mod alerts;
mod backup;
mod compose;
mod house;
mod image;
mod inbound;
mod metrics;
mod programs;
mod runbook;
mod schema;
mod settings;
mod shaping;
