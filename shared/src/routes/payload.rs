//! Jobs of this domain.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use super::route;
use crate::{
    error::Result,
    queue::{
        job::{self, Enqueue},
        lane::Lane,
        payload::Job,
    },
};

/// Opens a session with a relay and ends it again: whether it can be reached, and takes our credentials.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckRoute {
    /// The route.
    pub route_id: Uuid,
}

impl Job for CheckRoute {
    const NAME: &'static str = "CheckRoute";
    const LANE: Lane = Lane::Critical;
    const TIMEOUT: Duration = Duration::from_secs(60);
}

/// Puts a check of the route in line; one that is under way already is the answer.
///
/// # Errors
/// [`crate::error::Error::NotFound`], or the database failed.
pub async fn check(connection: &mut PgConnection, route_id: Uuid) -> Result<Uuid> {
    route::find(connection, route_id).await?;
    let options = Enqueue { unique_key: Some(route_id.to_string()), ..Enqueue::default() };
    job::enqueue(connection, &CheckRoute { route_id }, options).await
}
