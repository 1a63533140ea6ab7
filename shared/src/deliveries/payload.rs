//! Jobs of this domain.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::queue::{lane::Lane, payload::Job};

/// Sends a chunk. The job has the chunk's id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SendChunk {
    /// The chunk.
    pub chunk_id: Uuid,
}

impl Job for SendChunk {
    const NAME: &'static str = "SendChunk";
    const LANE: Lane = Lane::Bulk;
}
