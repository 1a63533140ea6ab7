//! A person's second try: the failed, or those in doubt.

use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    database,
    error::Result,
    queue::claim::{self, Lease},
};

/// Makes recipients of this state due now, with a new life span. Fenced; one transaction, since a half of it would look like a whole.
/// Answers how many.
///
/// # Errors
/// The lease is lost, or the database failed.
pub async fn reopen(pool: &PgPool, lease: Lease, campaign_id: Uuid, state: &str) -> Result<u64> {
    let mut transaction = database::begin(pool).await?;
    claim::hold(&mut transaction, lease).await?;
    let reopened = sqlx::query(
        "UPDATE deliveries SET state = 'deferred', reason = 'retried', first_attempt_at = NULL, created_at = now(),
                               next_attempt_at = now(), updated_at = now()
         WHERE campaign_id = $1 AND state = $2",
    )
    .bind(campaign_id)
    .bind(state)
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    transaction.commit().await?;
    Ok(reopened)
}
