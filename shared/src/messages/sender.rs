//! The question whether mail may come from a domain.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::{Error, Result};

/// Whether the workspace has shown that the domain is its own.
///
/// # Errors
/// [`Error::Conflict`] names the domain and what is wrong with it.
pub async fn require(connection: &mut PgConnection, workspace_id: Uuid, domain: &str) -> Result<()> {
    let state: Option<String> = sqlx::query_scalar("SELECT state FROM sending_domains WHERE workspace_id = $1 AND domain = $2")
        .bind(workspace_id)
        .bind(domain)
        .fetch_optional(connection)
        .await?;
    match state.as_deref() {
        Some("verified" | "degraded") => Ok(()),
        Some(state) => {
            Err(Error::Conflict(format!("the sending domain {domain} is {state}, not verified: no mail can come from it")))
        }
        None => Err(Error::Conflict(format!("{domain} is no sending domain of this workspace: add and verify it first"))),
    }
}
