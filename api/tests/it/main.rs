//! The front, in process, on a real database. One file an area; [`app`] is what they share.

mod accounts;
mod app;
mod contacts;
mod health;
mod jobs;
mod lists;
mod problems;
mod suppressions;
