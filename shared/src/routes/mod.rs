//! Routes: the ways by which mail leaves. [`route`] is the noun, [`relay_url`] reads where a relay is, [`usable`] is what senders ask,
//! [`health`] is whether a route works, [`connections`] how many are open, [`standing`] what people ask, [`payload`] the job that checks one.

pub mod connections;
pub mod health;
pub mod payload;
pub mod relay_url;
pub mod route;
pub mod standing;
pub mod usable;
