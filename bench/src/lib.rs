//! What measures Mochila, and what stands in for the world outside while it is measured.
//!
//! [`sink`] is the mail server that takes everything and counts.

pub mod sink;
