//! One part, one transaction: contacts, members, errors and the pointer, or nothing of it.

use std::collections::{BTreeMap, btree_map::Entry};

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{import::Import, row::Row, row_errors, source::Part};
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
pub async fn commit(pool: &PgPool, lease: Lease, import_id: Uuid, before: i64, part: Part) -> Result<Committed> {
    let mut transaction = pool.begin().await?;
    let committed = load(&mut transaction, lease, import_id, before, part).await?;
    transaction.commit().await?;
    Ok(committed)
}

/// As [`commit`], in the caller's transaction.
///
/// # Errors
/// As [`commit`].
pub async fn load(connection: &mut PgConnection, lease: Lease, import_id: Uuid, before: i64, part: Part) -> Result<Committed> {
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

    let valid = part.rows.len();
    let contacts = merge(part.rows);
    let duplicate = valid - contacts.len();
    let stored = i64::try_from(contacts.len()).map_err(Error::internal)?;
    let created = store(&mut *connection, workspace_id, list_id, contacts).await?;
    row_errors::insert(&mut *connection, import_id, &part.errors).await?;

    let import = sqlx::query_as(
        "UPDATE imports SET records_done = records_done + $2, bytes_done = $3, rows_created = rows_created + $4,
                            rows_updated = rows_updated + $5, rows_duplicate = rows_duplicate + $6, rows_invalid = rows_invalid + $7,
                            state = CASE WHEN $8 THEN 'finished' ELSE state END,
                            finished_at = CASE WHEN $8 THEN now() END, updated_at = now()
         WHERE id = $1 RETURNING *",
    )
    .bind(import_id)
    .bind(part.records)
    .bind(part.bytes_done)
    .bind(created)
    .bind(stored - created)
    .bind(i64::try_from(duplicate).map_err(Error::internal)?)
    .bind(part.invalid)
    .bind(part.last)
    .fetch_one(connection)
    .await?;
    Ok(Committed::Done(Box::new(import)))
}

/// One row an address, in the order of addresses: two imports that lock the same contacts do it in the same order.
fn merge(rows: Vec<Row>) -> BTreeMap<String, Row> {
    let mut contacts = BTreeMap::new();
    for row in rows {
        match contacts.entry(row.email.clone()) {
            Entry::Vacant(free) => {
                free.insert(row);
            }
            Entry::Occupied(mut earlier) => earlier.get_mut().absorb(row),
        }
    }
    contacts
}

/// Makes or updates the contacts and puts them on the list; answers how many are new. Who is unsubscribed or blocked stays so.
///
/// The arrays are the staging table: one statement, and no rows of the catalog as a temporary table would make. What it takes is the
/// indexes and foreign keys of the two tables, not the way in.
async fn store(connection: &mut PgConnection, workspace_id: Uuid, list_id: Uuid, contacts: BTreeMap<String, Row>) -> Result<i64> {
    let mut ids = Vec::with_capacity(contacts.len());
    let mut emails = Vec::with_capacity(contacts.len());
    let mut names = Vec::with_capacity(contacts.len());
    let mut attributes = Vec::with_capacity(contacts.len());
    for (email, row) in contacts {
        ids.push(Uuid::now_v7());
        emails.push(email);
        names.push(row.name);
        attributes.push(serde_json::to_string(&row.attributes).map_err(Error::internal)?);
    }
    let created = sqlx::query_scalar(
        "WITH staged AS (
             SELECT * FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[]) WITH ORDINALITY AS row (id, email, name, attributes, place)
         ), stored AS (
             INSERT INTO contacts AS contact (id, workspace_id, email, name, attributes)
             SELECT id, $1, email, name, attributes::jsonb FROM staged ORDER BY place
             ON CONFLICT (workspace_id, email) DO UPDATE
             SET name = CASE WHEN excluded.name = '' THEN contact.name ELSE excluded.name END,
                 -- Columns that change their names from file to file must not pile up without end.
                attributes = CASE WHEN octet_length((contact.attributes || excluded.attributes)::text) <= 16384
                    THEN contact.attributes || excluded.attributes ELSE excluded.attributes END,
                 updated_at = now()
             RETURNING contact.id
         ), joined AS (
             INSERT INTO list_members (list_id, contact_id) SELECT $2, id FROM stored ON CONFLICT DO NOTHING
         )
         SELECT count(*) FROM stored JOIN staged USING (id)",
    )
    .bind(workspace_id)
    .bind(list_id)
    .bind(ids)
    .bind(emails)
    .bind(names)
    .bind(attributes)
    .fetch_one(connection)
    .await?;
    Ok(created)
}
