//! Campaigns: launching, cancelling, retrying, testing.

pub mod cancel_recipients;
pub mod launch_campaign;
pub mod retry_recipients;
pub mod send_test;
