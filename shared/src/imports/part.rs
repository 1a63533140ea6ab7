//! One part, one transaction: contacts, members, errors and the pointer, or nothing of it. First its rows are written, which a part may do
//! while the one before it is not committed yet; then, part after part, it is committed with the pointer under the fence.

use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::{
    batch::Batch,
    import::Import,
    people::{self, Way},
    row_errors,
};
use crate::{
    database,
    error::{Error, Result},
    queue::claim::{self, Lease},
};

/// Where in the import a part stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The import.
    pub import_id: Uuid,
    /// Records of the file before it.
    pub before: i64,
}

/// A part whose rows are written and not committed. Dropped, nothing of it stays.
#[derive(Debug)]
pub struct Written {
    transaction: Transaction<'static, Postgres>,
    place: Place,
    created: i64,
}

const LIST: &str = "list of import";

/// Whether a failure says that the list of the import was deleted.
#[must_use]
pub fn list_is_gone(error: &Error) -> bool {
    match error {
        Error::NotFound { what, .. } => *what == LIST,
        Error::Database(error) => Error::constraint(error) == Some("list_members_list_id_fkey"),
        _ => false,
    }
}

/// A part whose turn is fixed: who goes on behind it waits for it from now on.
#[derive(Debug)]
pub struct Begun {
    transaction: Transaction<'static, Postgres>,
    place: Place,
}

/// Begins a part. One that follows another is begun after that.
///
/// # Errors
/// The database failed.
pub async fn begin(pool: &PgPool, place: Place, batch: &Batch) -> Result<Begun> {
    let mut transaction = database::begin(pool).await?;
    reach(&mut transaction, place.import_id, place.before + batch.records).await?;
    Ok(Begun { transaction, place })
}

impl Begun {
    /// Writes the rows, and waits until the part before this one is committed or gone.
    ///
    /// Parts of one import that are written at the same time must not share an address. One waits for the one before it in the database
    /// and not in this process, so that a circle of imports that wait for each other's contacts is found by PostgreSQL, which ends one
    /// of them.
    ///
    /// # Errors
    /// [`list_is_gone`]. But with [`Way::Merge`] also [`people::came_second`]. [`Error::NotFound`]: there is no such import. The
    /// database failed.
    pub async fn write(self, batch: &Batch, way: Way) -> Result<Written> {
        let Self { mut transaction, place } = self;
        let Place { import_id, before } = place;
        let (workspace_id, list_id): (Uuid, Option<Uuid>) =
            sqlx::query_as("SELECT workspace_id, list_id FROM imports WHERE id = $1")
                .bind(import_id)
                .fetch_optional(&mut *transaction)
                .await?
                .ok_or_else(|| Error::not_found("import", import_id))?;
        let list_id = list_id.ok_or_else(|| Error::not_found(LIST, import_id))?;
        let created = people::store(&mut transaction, workspace_id, list_id, &batch.contacts, way).await?;
        row_errors::insert(&mut transaction, import_id, &batch.errors).await?;
        reach(&mut transaction, import_id, before).await?;
        Ok(Written { transaction, place, created })
    }
}

/// Holds the pointer's coming to `records` until the transaction ends: who goes on from there waits for it.
async fn reach(connection: &mut PgConnection, import_id: Uuid, records: i64) -> Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('mochila.import ' || $1::text || ' ' || $2::text, 0))")
        .bind(import_id)
        .bind(records)
        .execute(connection)
        .await?;
    Ok(())
}

impl Written {
    /// Contacts of it that are new.
    #[must_use]
    pub fn created(&self) -> i64 {
        self.created
    }

    /// Gives it up; nothing of it is there any more when this ends.
    pub async fn roll_back(self) {
        if let Err(error) = self.transaction.rollback().await {
            tracing::debug!(%error, "a part that was given up ended with its connection");
        }
    }

    /// Commits it and moves the pointer over it, under the fence. At the end of the last part the import is finished.
    ///
    /// # Errors
    /// [`Error::Conflict`]: the lease is lost, or the pointer does not stand before this part. [`list_is_gone`]. The database failed.
    /// Nothing of the part is loaded then, unless the answer to the commit was lost: who resumes asks the pointer.
    pub async fn commit(self, lease: Lease, batch: &Batch) -> Result<Import> {
        let Self { mut transaction, place, created } = self;
        let Place { import_id, before } = place;
        let stored = i64::try_from(batch.contacts.len()).map_err(Error::internal)?;
        // The job before the import, as everywhere.
        claim::hold(&mut transaction, lease).await?;
        let import: Import = sqlx::query_as(
            "UPDATE imports SET records_done = records_done + $3, bytes_done = $4, rows_created = rows_created + $5,
                                rows_updated = rows_updated + $6, rows_duplicate = rows_duplicate + $7, rows_invalid = rows_invalid + $8,
                                state = CASE WHEN $9 THEN 'finished' ELSE state END,
                                finished_at = CASE WHEN $9 THEN now() END, updated_at = now()
             WHERE id = $1 AND state = 'running' AND records_done = $2 RETURNING *",
        )
        .bind(import_id)
        .bind(before)
        .bind(batch.records)
        .bind(batch.bytes_done)
        .bind(created)
        .bind(stored - created)
        .bind(batch.duplicate)
        .bind(batch.invalid)
        .bind(batch.last)
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or_else(|| Error::Conflict(format!("import {import_id} no longer stands at {before} records")))?;
        if import.list_id.is_none() {
            return Err(Error::not_found(LIST, import_id));
        }
        transaction.commit().await?;
        Ok(import)
    }
}
