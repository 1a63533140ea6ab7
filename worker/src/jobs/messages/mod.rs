//! Jobs of transactional messages.

pub mod send_message;
