//! Which database is the one that sends. A copy of it (a restored backup, a promoted standby) sends nothing until a person says that it
//! has taken the original's place: the original may still be at work, or may have sent what the copy believes to be waiting.

use sqlx::{PgConnection, PgPool};

use crate::{database, error::Result};

/// Records that this database sends, where nobody has ever said which one does: a house that has just been migrated for the first time.
/// Answers whether it was recorded now.
///
/// # Errors
/// The database failed.
pub async fn begin(pool: &PgPool) -> Result<bool> {
    let mut transaction = database::begin(pool).await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('mochila.installation', 0))").execute(&mut *transaction).await?;
    let unknown: bool = sqlx::query_scalar("SELECT NOT EXISTS (SELECT 1 FROM installation)").fetch_one(&mut *transaction).await?;
    if unknown {
        sqlx::query("SELECT confirm_installation()").execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(unknown)
}

/// Says that this database is the one that sends from now on. Answers whether that was in doubt.
///
/// # Errors
/// The database failed.
pub async fn confirm(pool: &PgPool) -> Result<bool> {
    let mut transaction = database::begin(pool).await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('mochila.installation', 0))").execute(&mut *transaction).await?;
    let known: bool = sqlx::query_scalar("SELECT installation_is_known()").fetch_one(&mut *transaction).await?;
    if !known {
        sqlx::query("SELECT confirm_installation()").execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(!known)
}

/// Whether this is a copy that nobody has confirmed. Asked on every new connection that admits mails: a database cannot be exchanged
/// under a connection.
///
/// # Errors
/// The database failed.
pub async fn is_copy(connection: &mut PgConnection) -> Result<bool> {
    Ok(sqlx::query_scalar("SELECT NOT installation_is_known()").fetch_one(connection).await?)
}
