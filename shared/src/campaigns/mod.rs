//! campaigns
pub mod cancel;
pub mod finish;
pub mod launch;
