//! Addresses and domains that get no mail, whatever a list says: [`suppression`] is the noun, [`policy`] says when the house adds one by
//! itself, [`file`] is the list on its way in and out.

pub mod file;
pub mod policy;
pub mod suppression;
