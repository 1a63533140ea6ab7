//! The front, in process, on a real database. One file an area; [`app`] is what they share, [`shop`] a workspace that can send.

mod accounts;
mod app;
mod campaigns;
mod contacts;
mod cors;
mod deliveries;
mod etags;
mod events;
mod headers;
mod health;
mod idempotency;
mod imports;
mod jobs;
mod limits;
mod lists;
mod members;
mod problems;
mod routes;
mod sending;
mod sessions;
mod shop;
mod suppressions;
mod telemetry;
mod tls;
mod unsubscribe;
