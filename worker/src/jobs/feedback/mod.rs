//! Jobs about what comes back.

mod read_notice;
mod read_post;
mod taking;
