//! The demo: a contact file becomes a delivered, balanced campaign before a person's eyes. [`campaign`] is the story, [`journey`]
//! what was seen on the way, [`screen`] the terminal, [`report`] what is said at the end, [`template`] the mail.

pub mod campaign;
pub mod journey;
pub mod report;
pub mod screen;
pub mod template;
