//! What was refused, row by row, as a page and as a file to download.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{Stream, stream};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use super::row::RowError;
use crate::{
    error::{Error, Result},
    page::{Page, PageRequest},
};

/// Rows that one read of the download takes.
const SLICE: i64 = 1000;

/// A row of `import_errors`.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0004_imports.sql")]
pub struct StoredError {
    pub line: i64,
    pub column_name: String,
    pub reason: String,
    pub row: String,
    pub created_at: DateTime<Utc>,
}

/// Stores what a part refused.
///
/// # Errors
/// The database failed.
pub async fn insert(connection: &mut PgConnection, import_id: Uuid, errors: &[RowError]) -> Result<()> {
    if errors.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO import_errors (import_id, line, column_name, reason, row)
         SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[]) ON CONFLICT DO NOTHING",
    )
    .bind(import_id)
    .bind(errors.iter().map(|error| error.line).collect::<Vec<_>>())
    .bind(errors.iter().map(|error| error.column.as_str()).collect::<Vec<_>>())
    .bind(errors.iter().map(|error| error.reason.as_str()).collect::<Vec<_>>())
    .bind(errors.iter().map(|error| error.row.as_str()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// A page of an import's errors, in the order of the file.
///
/// # Errors
/// The database failed.
pub async fn list(pool: &PgPool, import_id: Uuid, page: PageRequest) -> Result<Page<StoredError>> {
    let total =
        sqlx::query_scalar("SELECT count(*) FROM import_errors WHERE import_id = $1").bind(import_id).fetch_one(pool).await?;
    let rows = sqlx::query_as("SELECT * FROM import_errors WHERE import_id = $1 ORDER BY line, column_name LIMIT $2 OFFSET $3")
        .bind(import_id)
        .bind(page.limit)
        .bind(page.offset())
        .fetch_all(pool)
        .await?;
    Ok(Page::new(page, total, rows))
}

/// All of an import's errors as CSV (`line,column,reason,row`), read slice by slice.
pub fn csv(pool: PgPool, import_id: Uuid) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    stream::try_unfold(Some((i64::MIN, String::new())), move |after| {
        let pool = pool.clone();
        async move {
            let Some((line, column)) = after else { return Ok(None) };
            let first = line == i64::MIN;
            let errors: Vec<StoredError> = sqlx::query_as(
                "SELECT * FROM import_errors WHERE import_id = $1 AND (line, column_name) > ($2, $3)
                 ORDER BY line, column_name LIMIT $4",
            )
            .bind(import_id)
            .bind(line)
            .bind(column)
            .bind(SLICE)
            .fetch_all(&pool)
            .await?;
            let next = errors.last().map(|error| (error.line, error.column_name.clone()));
            match write(&errors, first) {
                Ok(bytes) if first || next.is_some() => Ok(Some((bytes, next))),
                Ok(_) => Ok(None),
                Err(error) => Err(Error::internal(error)),
            }
        }
    })
}

fn write(errors: &[StoredError], header: bool) -> Result<Bytes, csv::Error> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    if header {
        writer.write_record(["line", "column", "reason", "row"])?;
    }
    for error in errors {
        let line = error.line.to_string();
        writer.write_record([&line, &inert(&error.column_name), &inert(&error.reason), &inert(&error.row)])?;
    }
    let bytes = writer.into_inner().map_err(|error| error.into_error())?;
    Ok(bytes.into())
}

/// A cell that a spreadsheet does not run as a formula (OWASP, CSV injection): the file comes from outside.
fn inert(cell: &str) -> String {
    let quote = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("{quote}{cell}")
}
