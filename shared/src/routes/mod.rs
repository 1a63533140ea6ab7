//! Routes: the ways by which mail leaves. [`route`] is the noun, [`relay_url`] reads where a relay is, [`usable`] is what senders ask.

pub mod relay_url;
pub mod route;
pub mod usable;
