//! Jobs of this domain.

pub mod verify_domain;
