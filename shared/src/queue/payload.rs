//! What a kind of job is: a payload of ids, and how it is to be treated. Payloads live beside their data; what runs them lives in
//! the worker.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use super::lane::Lane;

/// A kind of job. The value is its payload: ids, never data.
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Verb and object, e.g. `LaunchCampaign`; stands in the table.
    const NAME: &'static str;
    /// Where it waits.
    const LANE: Lane;
    /// Tries before it is dead.
    const ATTEMPTS: i32 = 3;
    /// How long one run may take before its next checkpoint ends it.
    const TIMEOUT: Duration = Duration::from_secs(600);
}
