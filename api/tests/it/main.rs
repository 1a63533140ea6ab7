//! The front, in process, on a real database. One file an area.

mod app;
mod health;
mod imports;
