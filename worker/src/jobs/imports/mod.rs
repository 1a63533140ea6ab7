//! Files on their way in.

pub mod load_contacts;
