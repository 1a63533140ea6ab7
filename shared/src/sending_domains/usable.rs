//! What others ask: whether mail of a workspace may come from a domain.

use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{
    check::{Check, Verdict},
    sending_domain::{SendingDomain, State},
};
use crate::error::{Error, Result};

/// The domain, if mail may come from it now.
///
/// # Errors
/// [`Error::Conflict`] names the domain, its state and the checks that failed.
pub async fn require(connection: &mut PgConnection, workspace_id: Uuid, domain: &str) -> Result<SendingDomain> {
    judge(
        domain,
        look(connection, workspace_id, domain, "SELECT * FROM sending_domains WHERE workspace_id = $1 AND domain = $2").await?,
    )
}

/// The same, and it stays so until the transaction ends: a verification that takes the domain away waits, and sees what was begun.
///
/// # Errors
/// As [`require`].
pub async fn hold(connection: &mut PgConnection, workspace_id: Uuid, domain: &str) -> Result<SendingDomain> {
    const HELD: &str = "SELECT * FROM sending_domains WHERE workspace_id = $1 AND domain = $2 FOR SHARE";
    judge(domain, look(connection, workspace_id, domain, HELD).await?)
}

async fn look(connection: &mut PgConnection, workspace_id: Uuid, domain: &str, sql: &'static str) -> Result<Option<SendingDomain>> {
    Ok(sqlx::query_as(sql).bind(workspace_id).bind(domain.to_lowercase()).fetch_optional(connection).await?)
}

fn judge(domain: &str, found: Option<SendingDomain>) -> Result<SendingDomain> {
    match found {
        None => Err(Error::Conflict(format!(
            "mail cannot come from {domain}: it is no sending domain of this workspace; claim it with POST /sending-domains"
        ))),
        Some(found) if found.state.sends() => Ok(found),
        Some(found) => Err(Error::Conflict(refusal(&found.domain, found.state, &found.checks))),
    }
}

/// Why none may, in a sentence.
#[must_use]
pub fn refusal(domain: &str, state: State, checks: &Json<Vec<Check>>) -> String {
    let failed: Vec<String> = checks
        .iter()
        .filter(|check| check.verdict == Verdict::Fail || !check.answered)
        .map(|check| if check.advice.is_empty() { check.name.clone() } else { format!("{}: {}", check.name, check.advice) })
        .collect();
    match (failed.is_empty(), checks.is_empty()) {
        (true, true) => format!("mail cannot come from {domain}: it is {state} and was not verified yet"),
        (true, false) => format!("mail cannot come from {domain}: it is {state}; verify it again"),
        _ => format!("mail cannot come from {domain}: it is {state}; failed checks: {}", failed.join("; ")),
    }
}
