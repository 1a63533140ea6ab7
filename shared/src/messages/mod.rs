//! Transactional messages: one mail to one person, taken by a request and sent at once.
//!
//! [`message`] is the noun, made from what a [`draft`] says after its checks; [`attachment`] and [`event`] are its other tables, [`template`]
//! what many messages say. [`render`] puts data into a template, [`fields`] says which header fields a sender may add, [`letter`] writes the
//! bytes. [`carry`] is what the job of [`payload`] does to the row: admission, outcome, and the end of those whose job is gone; [`aftermath`] is what
//! bounces and complaints do to it later. [`prune`] forgets what is old.
//!
//! In doubt a message is sent again, with the same Message-ID: somebody waits for it.

pub mod aftermath;
pub mod attachment;
pub mod carry;
pub mod draft;
pub mod event;
pub mod fields;
pub mod letter;
pub mod message;
pub mod payload;
pub mod prune;
pub mod render;
pub mod template;
