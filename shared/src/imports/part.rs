//! One part, one transaction: contacts, members, errors and the pointer, or nothing of it.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{
    batch::Batch,
    import::Import,
    people::{self, Way},
    row_errors,
};
use crate::{
    error::{Error, Result},
    queue::claim::{self, Lease},
};

/// What a part was committed to.
#[derive(Clone, Debug)]
pub enum Committed {
    /// The import as it is now.
    Done(Box<Import>),
    /// The list of the import was deleted meanwhile; nothing of the part is loaded.
    NoList,
}

/// Loads a part that follows the first `before` records. In the end of the last part the import is finished.
///
/// # Errors
/// [`Error::Conflict`]: the lease is lost, or another run has moved the pointer. The database failed. Nothing of the part is loaded
/// then, unless the answer to the commit was lost: who resumes asks the pointer.
pub async fn commit(pool: &PgPool, lease: Lease, import_id: Uuid, before: i64, batch: &Batch) -> Result<Committed> {
    match attempt(pool, lease, import_id, before, batch, Way::Copy).await {
        Err(error) if people::came_second(&error) => attempt(pool, lease, import_id, before, batch, Way::Merge).await,
        other => other,
    }
}

async fn attempt(pool: &PgPool, lease: Lease, import_id: Uuid, before: i64, batch: &Batch, way: Way) -> Result<Committed> {
    let mut transaction = pool.begin().await?;
    let committed = load(&mut transaction, lease, import_id, before, batch, way).await?;
    transaction.commit().await?;
    Ok(committed)
}

/// As [`commit`], in the caller's transaction, the one way or the other.
///
/// # Errors
/// As [`commit`]; with [`Way::Copy`] also [`people::came_second`].
pub async fn load(
    connection: &mut PgConnection,
    lease: Lease,
    import_id: Uuid,
    before: i64,
    batch: &Batch,
    way: Way,
) -> Result<Committed> {
    claim::hold(&mut *connection, lease).await?;
    let (workspace_id, list_id): (Uuid, Option<Uuid>) = sqlx::query_as(
        "SELECT workspace_id, list_id FROM imports WHERE id = $1 AND state = 'running' AND records_done = $2 FOR UPDATE",
    )
    .bind(import_id)
    .bind(before)
    .fetch_optional(&mut *connection)
    .await?
    .ok_or_else(|| Error::Conflict(format!("import {import_id} no longer stands at {before} records")))?;
    let Some(list_id) = list_id else { return Ok(Committed::NoList) };

    let stored = i64::try_from(batch.contacts.len()).map_err(Error::internal)?;
    let created = people::store(&mut *connection, workspace_id, list_id, &batch.contacts, way).await?;
    row_errors::insert(&mut *connection, import_id, &batch.errors).await?;

    let import = sqlx::query_as(
        "UPDATE imports SET records_done = records_done + $2, bytes_done = $3, rows_created = rows_created + $4,
                            rows_updated = rows_updated + $5, rows_duplicate = rows_duplicate + $6, rows_invalid = rows_invalid + $7,
                            state = CASE WHEN $8 THEN 'finished' ELSE state END,
                            finished_at = CASE WHEN $8 THEN now() END, updated_at = now()
         WHERE id = $1 RETURNING *",
    )
    .bind(import_id)
    .bind(batch.records)
    .bind(batch.bytes_done)
    .bind(created)
    .bind(stored - created)
    .bind(batch.duplicate)
    .bind(batch.invalid)
    .bind(batch.last)
    .fetch_one(connection)
    .await?;
    Ok(Committed::Done(Box::new(import)))
}
