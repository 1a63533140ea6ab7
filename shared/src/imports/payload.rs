//! The job that loads a file.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::queue::{lane::Lane, payload::Job};

/// Turns the object of an import into contacts of a list. Its unique key is the import's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadContacts {
    /// Which.
    pub import_id: Uuid,
}

impl Job for LoadContacts {
    const NAME: &'static str = "LoadContacts";
    const LANE: Lane = Lane::Imports;
    const TIMEOUT: Duration = Duration::from_secs(3600);
}
