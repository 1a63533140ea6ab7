//! Routes: by which way mail leaves the house. [`route`] is the noun, [`relay_url`] reads where a relay is.

pub mod relay_url;
pub mod route;
