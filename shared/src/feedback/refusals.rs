//! What was refused for good in the SMTP session, brought to the workspace's policy. The ledger notes it with the outcome; this looks at
//! it a moment later, so that the statement that the senders wait for stays what it is.

use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use super::softly;
use crate::{database, deliveries::bounce_rules, error::Result, suppressions::policy};

/// Refusals of one transaction.
const SLICE: i64 = 200;

#[derive(FromRow)]
struct Refusal {
    id: Uuid,
    workspace_id: Uuid,
    recipient: String,
    smtp_code: Option<i16>,
    status: Option<String>,
    diagnostic: Option<String>,
}

/// Applies the policies to the refusals that wait. Several may do so at once. Answers how many.
///
/// # Errors
/// The database failed; the same call again is safe.
pub async fn take(pool: &PgPool) -> Result<u64> {
    let mut taken = 0;
    loop {
        let slice = slice(pool).await?;
        taken += slice;
        if slice < SLICE.unsigned_abs() {
            return Ok(taken);
        }
    }
}

async fn slice(pool: &PgPool) -> Result<u64> {
    let mut transaction = database::begin(pool).await?;
    let mut refusals: Vec<Refusal> = sqlx::query_as(
        "SELECT id, workspace_id, recipient, smtp_code, status, diagnostic FROM feedback_events WHERE taken_at IS NULL
         ORDER BY id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED",
    )
    .bind(SLICE)
    .fetch_all(&mut *transaction)
    .await?;
    // Everybody takes addresses in the same order, so that nobody waits in a circle.
    refusals.sort_by(|a, b| (a.workspace_id, &a.recipient).cmp(&(b.workspace_id, &b.recipient)));
    let mut current: Option<(Uuid, policy::Policy)> = None;
    for refusal in &refusals {
        let code = refusal.smtp_code.and_then(|code| u16::try_from(code).ok());
        let verdict = bounce_rules::judge(refusal.status.as_deref(), code, refusal.diagnostic.as_deref().unwrap_or_default());
        let class = verdict.class.as_str();
        sqlx::query("UPDATE feedback_events SET class = $2, hard = $3, taken_at = now(), updated_at = now() WHERE id = $1")
            .bind(refusal.id)
            .bind(class)
            .bind(verdict.hard)
            .execute(&mut *transaction)
            .await?;
        if !verdict.hard && !softly::counts(class) {
            continue;
        }
        if current.as_ref().is_none_or(|(workspace_id, _)| *workspace_id != refusal.workspace_id) {
            current = Some((refusal.workspace_id, policy::of(&mut transaction, refusal.workspace_id).await?.policy));
        }
        if let Some((workspace_id, policy)) = &current {
            softly::bounced(&mut transaction, *workspace_id, &refusal.recipient, verdict.hard, policy).await?;
        }
    }
    transaction.commit().await?;
    Ok(refusals.len() as u64)
}
