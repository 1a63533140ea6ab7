//! Deliveries: the job that sends.

pub mod send_chunk;
