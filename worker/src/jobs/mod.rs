//! What runs: one file a job, one folder a domain. [`crate::registry`] lists the kinds, [`crate::schedule`] what is periodic.

pub mod campaigns;
pub mod deliveries;
pub mod feedback;
pub mod imports;
pub mod members;
pub mod messages;
pub mod routes;
pub mod sending_domains;
