//! Housekeeping: uploads that never finished, and imports whose job ended without them.

use std::{pin::pin, time::Duration};

use chrono::{DateTime, Utc};
use futures::StreamExt;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{database, error::Result, store::Store};

/// Uploads that one sweep removes at most.
const SLICE: i64 = 200;

/// Removes the uploads that were begun longer than `older_than` ago (database's clock) and never finished: object, then row. Answers how many.
///
/// # Errors
/// The database failed. A store that fails leaves its uploads to the next sweep.
pub async fn unfinished(pool: &PgPool, store: &Store, older_than: Duration) -> Result<u64> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM imports WHERE state = 'receiving' AND created_at < now() - make_interval(secs => $1) ORDER BY created_at LIMIT $2",
    )
    .bind(older_than.as_secs_f64())
    .bind(SLICE)
    .fetch_all(pool)
    .await?;
    let mut removed = 0;
    for id in ids {
        match remove(pool, store, id).await {
            Ok(gone) => removed += u64::from(gone),
            Err(error) => tracing::warn!(%error, import.id = %id, "an unfinished upload could not be removed"),
        }
    }
    Ok(removed)
}

/// Removes an upload that is still `receiving`: the row is locked meanwhile, so that it cannot become an import without its object.
/// `false`: it is not there, is received, or somebody else removes it.
///
/// # Errors
/// The database or the store failed; the row stays.
pub async fn remove(pool: &PgPool, store: &Store, id: Uuid) -> Result<bool> {
    let mut transaction = database::begin(pool).await?;
    let key: Option<String> =
        sqlx::query_scalar("SELECT object_key FROM imports WHERE id = $1 AND state = 'receiving' FOR UPDATE SKIP LOCKED")
            .bind(id)
            .fetch_optional(&mut *transaction)
            .await?;
    let Some(key) = key else { return Ok(false) };
    store.delete(&key).await?;
    sqlx::query("DELETE FROM imports WHERE id = $1").bind(id).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Removes the files of imports that ended before `before`; rows and figures stay. Each object goes before its row says so: a process
/// that dies in between removes it again, which is nothing. Answers how many.
///
/// # Errors
/// The database failed. A store that fails leaves its files to the next sweep.
pub async fn files(pool: &PgPool, store: &Store, before: DateTime<Utc>) -> Result<u64> {
    let old: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT id, object_key FROM imports WHERE finished_at < $1 AND object_removed_at IS NULL ORDER BY finished_at LIMIT $2",
    )
    .bind(before)
    .bind(SLICE)
    .fetch_all(pool)
    .await?;
    let mut removed = 0;
    for (id, key) in old {
        if let Err(error) = store.delete(&key).await {
            tracing::warn!(%error, import.id = %id, "an old upload could not be removed");
            continue;
        }
        let told = sqlx::query("UPDATE imports SET object_removed_at = now() WHERE id = $1 AND object_removed_at IS NULL").bind(id);
        removed += told.execute(pool).await?.rows_affected();
    }
    Ok(removed)
}

/// Removes objects under `prefix` that were last written before `before` and that no import names: the leftovers of a row that is gone.
/// Answers how many.
///
/// # Errors
/// The database or the store failed.
pub async fn orphans(pool: &PgPool, store: &Store, prefix: &str, before: DateTime<Utc>) -> Result<u64> {
    let mut removed = 0;
    let mut keys = pin!(store.older_than(prefix, before).chunks(SLICE.unsigned_abs() as usize));
    while let Some(slice) = keys.next().await {
        let slice: Vec<String> = slice.into_iter().collect::<Result<_, _>>()?;
        let orphans: Vec<String> = sqlx::query_scalar(
            "SELECT key FROM unnest($1::text[]) AS u (key) WHERE NOT EXISTS (SELECT 1 FROM imports i WHERE i.object_key = u.key)",
        )
        .bind(&slice)
        .fetch_all(pool)
        .await?;
        for key in orphans {
            store.delete(&key).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Ends the imports whose job is over although they are not: cancelled as a job, dead, failed, or pruned. Answers how many.
///
/// # Errors
/// The database failed.
pub async fn settle(pool: &PgPool) -> Result<u64> {
    let settled = sqlx::query(
        "UPDATE imports i SET state = CASE WHEN j.state = 'cancelled' THEN 'cancelled' ELSE 'failed' END,
                              failure = CASE WHEN j.state = 'cancelled' THEN 'cancelled after ' || i.records_done || ' records'
                                             ELSE 'the job ended before the file did, after ' || i.records_done || ' records' END
                                        || '; what was loaded stays',
                              finished_at = now(), updated_at = now()
         FROM imports open LEFT JOIN jobs j ON j.id = open.job_id
         WHERE open.id = i.id AND i.state IN ('queued', 'running')
               AND (j.id IS NULL OR j.state IN ('succeeded', 'failed', 'cancelled', 'dead'))",
    )
    .execute(pool)
    .await?;
    Ok(settled.rows_affected())
}
