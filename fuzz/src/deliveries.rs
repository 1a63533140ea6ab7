//! The table of replies.

#[path = "../../shared/src/deliveries/bounce_rules.rs"]
pub mod bounce_rules;
