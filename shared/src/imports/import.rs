//! The noun: an import, its states, how it is asked for and ended.
//!
//! `receiving → queued → running → finished | failed | cancelled`. A job that is run again takes a failed or cancelled import up where it
//! stopped.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    accounts::scope::Scope,
    database,
    error::{Error, Result},
    page::{Page, PageRequest},
    queue::{
        claim::{self, Lease},
        inspect,
    },
};

/// The states, in the order in which they follow each other.
pub const STATES: [&str; 6] = ["receiving", "queued", "running", "finished", "failed", "cancelled"];

/// A row of `imports`.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0004_imports.sql")]
pub struct Import {
    pub id: Uuid,
    pub workspace_id: Uuid,
    pub target: String,
    pub list_id: Option<Uuid>,
    pub job_id: Option<Uuid>,
    pub state: String,
    pub file_name: String,
    pub object_key: String,
    pub size_bytes: i64,
    pub bytes_done: i64,
    pub records_done: i64,
    pub rows_created: i64,
    pub rows_updated: i64,
    pub rows_duplicate: i64,
    pub rows_invalid: i64,
    pub failure: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// What an import has come to. `created + updated + duplicate + invalid = records`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = ImportCounts)]
pub struct Report {
    /// Records of the file that were looked at, without the header and empty rows.
    pub records: i64,
    /// Contacts that are new.
    pub created: i64,
    /// Contacts that were there.
    pub updated: i64,
    /// Rows whose address stood in an earlier row of the same part; they are merged with it.
    pub duplicate: i64,
    /// Rows that were refused.
    pub invalid: i64,
}

impl Import {
    /// What it has come to so far.
    #[must_use]
    pub fn report(&self) -> Report {
        Report {
            records: self.records_done,
            created: self.rows_created,
            updated: self.rows_updated,
            duplicate: self.rows_duplicate,
            invalid: self.rows_invalid,
        }
    }
}

/// The import `id`, if the caller may see it.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`].
pub async fn find(pool: &PgPool, scope: Scope, id: Uuid) -> Result<Import> {
    let import = get(pool, id).await?;
    scope.may_read("import", id, import.workspace_id)?;
    Ok(import)
}

/// The import `id`, for the house.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn get(pool: &PgPool, id: Uuid) -> Result<Import> {
    let found = sqlx::query_as("SELECT * FROM imports WHERE id = $1").bind(id).fetch_optional(pool).await?;
    found.ok_or_else(|| Error::not_found("import", id))
}

/// The workspace's imports, newest first, where given only those in `state`.
///
/// # Errors
/// [`Error::Invalid`]: there is no such state.
pub async fn list(pool: &PgPool, scope: Scope, state: Option<&str>, page: PageRequest) -> Result<Page<Import>> {
    if let Some(unknown) = state.filter(|state| !STATES.contains(state)) {
        return Err(Error::invalid("state", format!("must be one of {}, not {unknown:?}", STATES.join(", "))));
    }
    let total = sqlx::query_scalar("SELECT count(*) FROM imports WHERE workspace_id = $1 AND ($2::text IS NULL OR state = $2)")
        .bind(scope.workspace_id)
        .bind(state)
        .fetch_one(pool)
        .await?;
    let rows = sqlx::query_as(
        "SELECT * FROM imports WHERE workspace_id = $1 AND ($2::text IS NULL OR state = $2) ORDER BY id DESC LIMIT $3 OFFSET $4",
    )
    .bind(scope.workspace_id)
    .bind(state)
    .bind(page.limit)
    .bind(page.offset())
    .fetch_all(pool)
    .await?;
    Ok(Page::new(page, total, rows))
}

/// Asks the import to stop: at once where it waits, at the end of its part where it runs. What is loaded stays.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Conflict`]: it is over, or not yet received.
pub async fn cancel(pool: &PgPool, scope: Scope, id: Uuid) -> Result<Import> {
    let import = get(pool, id).await?;
    scope.may_change("import", id, import.workspace_id)?;
    let mut transaction = database::begin(pool).await?;
    let over = || Error::Conflict(format!("import {id} is {}, there is nothing to cancel", import.state));
    if !matches!(import.state.as_str(), "queued" | "running") {
        return Err(over());
    }
    // The job before the import, as in a run: the other order could deadlock with it.
    let job = match inspect::cancel(&mut transaction, scope, import.job_id.ok_or_else(over)?).await {
        Err(Error::Conflict(_) | Error::NotFound { .. }) => return Err(over()),
        other => other?,
    };
    if job.state == "cancelled" {
        set_cancelled(&mut transaction, id).await?;
    }
    transaction.commit().await?;
    get(pool, id).await
}

/// The run has stopped because it was asked to.
///
/// # Errors
/// The database failed.
pub async fn cancelled(pool: &PgPool, id: Uuid) -> Result<()> {
    set_cancelled(&mut *pool.acquire().await?, id).await
}

async fn set_cancelled(connection: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query(
        "UPDATE imports SET state = 'cancelled', finished_at = now(), updated_at = now(),
                            failure = 'cancelled after ' || records_done || ' records; what was loaded stays'
         WHERE id = $1 AND state IN ('queued', 'running')",
    )
    .bind(id)
    .execute(connection)
    .await?;
    Ok(())
}

/// A run begins, or begins again. `false`: there is nothing left to do.
///
/// # Errors
/// [`Error::Conflict`]: the lease is lost, or the file is not received.
pub async fn start(pool: &PgPool, lease: Lease, id: Uuid) -> Result<bool> {
    let mut transaction = database::begin(pool).await?;
    claim::hold(&mut transaction, lease).await?;
    let started = sqlx::query(
        "UPDATE imports SET state = 'running', failure = NULL, finished_at = NULL, updated_at = now()
         WHERE id = $1 AND state NOT IN ('receiving', 'finished')",
    )
    .bind(id)
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    transaction.commit().await?;
    if started == 1 {
        return Ok(true);
    }
    match get(pool, id).await?.state.as_str() {
        "finished" => Ok(false),
        state => Err(Error::Conflict(format!("import {id} is {state}"))),
    }
}

/// The whole file is of no use; `failure` says why.
///
/// # Errors
/// [`Error::Conflict`]: the lease is lost.
pub async fn fail(pool: &PgPool, lease: Lease, id: Uuid, failure: &str) -> Result<()> {
    let mut transaction = database::begin(pool).await?;
    claim::hold(&mut transaction, lease).await?;
    sqlx::query(
        "UPDATE imports SET state = 'failed', failure = $2, finished_at = now(), updated_at = now()
         WHERE id = $1 AND state = 'running'",
    )
    .bind(id)
    .bind(failure)
    .execute(&mut *transaction)
    .await?;
    Ok(transaction.commit().await?)
}
