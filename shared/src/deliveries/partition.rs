//! The ledger's partitions: one a month, made ahead.

use sqlx::PgPool;

use crate::{database, error::Result};

/// Makes the partitions of this month and the two after it. Answers how many were missing.
///
/// # Errors
/// The database failed.
pub async fn ensure(pool: &PgPool) -> Result<i32> {
    // Two workers at once: the second finds them there.
    let mut transaction = database::begin(pool).await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('mochila.partitions', 0))").execute(&mut *transaction).await?;
    let made = sqlx::query_scalar("SELECT ensure_delivery_partitions(now(), 3)").fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(made)
}
