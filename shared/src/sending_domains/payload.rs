//! Jobs of this domain.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use super::sending_domain;
use crate::{
    accounts::scope::Scope,
    error::Result,
    queue::{
        job::{self, Enqueue},
        lane::Lane,
        payload::Job,
    },
};

/// Asks name servers for all that a sending domain must have published.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerifyDomain {
    /// The domain.
    pub sending_domain_id: Uuid,
}

impl Job for VerifyDomain {
    const NAME: &'static str = "VerifyDomain";
    const LANE: Lane = Lane::Maintenance;
    const TIMEOUT: Duration = Duration::from_secs(300);
}

/// Puts a verification of the caller's domain in line; one that is under way already is the answer.
///
/// # Errors
/// [`crate::error::Error::NotFound`], [`crate::error::Error::Forbidden`].
pub async fn verify(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<Uuid> {
    let held = sending_domain::hold(connection, scope, id).await?;
    enqueue(connection, held.workspace_id, id).await
}

pub(super) async fn enqueue(connection: &mut PgConnection, workspace_id: Uuid, id: Uuid) -> Result<Uuid> {
    let options = Enqueue { workspace_id: Some(workspace_id), unique_key: Some(id.to_string()), ..Enqueue::default() };
    job::enqueue(connection, &VerifyDomain { sending_domain_id: id }, options).await
}
