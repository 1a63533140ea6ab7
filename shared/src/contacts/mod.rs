//! To whom: contacts and the lists that they are on.
//!
//! [`contact`] and [`list`] are the nouns, [`member`] is who stands on which list. [`attributes`] is the rule for what a contact may
//! carry.

pub mod attributes;
pub mod contact;
pub mod list;
pub mod member;
