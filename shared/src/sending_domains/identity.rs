//! As whom a workspace's mail from a domain goes out: what signs it, and where its bounces go.

use sqlx::PgPool;
use uuid::Uuid;

use super::{dkim_key, signing::Signer};
use crate::{
    clock::Clock,
    error::{Error, Result},
    vault::{Vault, return_path_fits},
};

/// As whom mail goes out.
#[derive(Default)]
pub struct Identity {
    /// The domain's active keys; none: its mail is not signed.
    pub signer: Option<Signer>,
    /// The host of the addresses that bounces go to; none, or none whose DNS says so: they go to the sender's own.
    pub return_path_host: Option<String>,
}

/// The identity of this domain (A-labels, lower case) for mail of this workspace. A domain that it has not is an identity without anything.
///
/// # Errors
/// A key cannot be opened or used: better no mail than one without the signature that its receivers expect. Or the database failed.
pub async fn find(pool: &PgPool, vault: &Vault, clock: &Clock, workspace_id: Uuid, domain: &str) -> Result<Identity> {
    let unusable = |reason: String| Error::Internal(format!("a key of {domain} cannot be used: {reason}"));
    let host: Option<String> = sqlx::query_scalar(
        "SELECT return_path_host FROM sending_domains
         WHERE workspace_id = $1 AND domain = $2 AND state IN ('verified', 'degraded')
           AND NOT checks @> '[{\"name\": \"return_path\", \"verdict\": \"fail\"}]'",
    )
    .bind(workspace_id)
    .bind(domain)
    .fetch_optional(pool)
    .await?;
    let keys = dkim_key::active(pool, vault, workspace_id, domain).await.map_err(|error| match error {
        Error::Internal(reason) => unusable(reason),
        other => other,
    })?;
    let signer = if keys.is_empty() { None } else { Some(Signer::new(domain, &keys, clock.clone()).map_err(unusable)?) };
    Ok(Identity { signer, return_path_host: host.filter(|host| return_path_fits(host)) })
}
