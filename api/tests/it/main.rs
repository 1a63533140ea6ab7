//! The front, in process, on a real database. One file an area.

mod app;
mod campaigns;
mod deliveries;
mod health;
mod routes;
mod shop;
mod unsubscribe;
