//! The suppression list as a file: read part by part, however long it is, and written the same way.
//!
//! A line is an address or a domain. With a first line of names there may be `value` (or `email`, `address`), `kind`, `reason` and `expires_at`.

use std::collections::HashSet;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::suppression::{self, Kind, Suppression};
use crate::{
    accounts::scope::Scope,
    error::{Error, Result},
};

/// Lines of one statement.
const PART: usize = 1_000;
/// Octets of a line.
const LONGEST_LINE: usize = 4_096;
/// Lines that are told with what is wrong with them.
const MOST_TOLD: usize = 20;
/// The first line of a file that is written.
const COLUMNS: [&str; 5] = ["value", "kind", "reason", "expires_at", "created_at"];

/// What became of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = SuppressionsImported)]
pub struct Imported {
    /// Suppressed now, or for longer than before.
    #[schema(minimum = 0)]
    pub added: u64,
    /// Suppressed before, or twice in the file.
    #[schema(minimum = 0)]
    pub known: u64,
    /// Neither address nor domain, or with a kind, reason or date that is none.
    #[schema(minimum = 0)]
    pub malformed: u64,
    /// The first of these.
    pub errors: Vec<Malformed>,
}

/// A line that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = MalformedSuppression)]
pub struct Malformed {
    /// Counted from 1.
    #[schema(minimum = 1, example = 7)]
    pub line: u64,
    /// What is wrong.
    #[schema(example = "\"bob\" has no @")]
    pub message: String,
}

/// A good line.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Entry {
    kind: &'static str,
    value: String,
    reason: &'static str,
    expires_at: Option<DateTime<Utc>>,
}

/// Where the fields are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Columns {
    value: usize,
    kind: Option<usize>,
    reason: Option<usize>,
    expires_at: Option<usize>,
}

/// A file on its way in. Each part is committed by itself: the same file again goes on where one ended.
pub struct Loading {
    pool: PgPool,
    workspace_id: Uuid,
    columns: Option<Columns>,
    rest: Vec<u8>,
    line: u64,
    part: Vec<Entry>,
    imported: Imported,
}

impl Loading {
    /// Into the caller's workspace.
    #[must_use]
    pub fn new(pool: PgPool, scope: Scope) -> Self {
        Self {
            pool,
            workspace_id: scope.workspace_id,
            columns: None,
            rest: Vec::new(),
            line: 0,
            part: Vec::with_capacity(PART),
            imported: Imported::default(),
        }
    }

    /// Takes the next octets of the file.
    ///
    /// # Errors
    /// [`Error::Invalid`]: a line has no end. The database failed; what was committed stays.
    pub async fn take(&mut self, octets: &[u8]) -> Result<()> {
        let mut octets = octets;
        while let Some(at) = memchr::memchr(b'\n', octets) {
            let (line, rest) = octets.split_at(at);
            octets = &rest[1..];
            let mut whole = std::mem::take(&mut self.rest);
            whole.extend_from_slice(line);
            self.line(&whole).await?;
        }
        self.rest.extend_from_slice(octets);
        if self.rest.len() > LONGEST_LINE {
            return Err(Error::invalid("body", format!("line {} is longer than {LONGEST_LINE} octets", self.line + 1)));
        }
        Ok(())
    }

    /// Takes the last line, which may lack its end.
    ///
    /// # Errors
    /// The database failed; what was committed stays.
    pub async fn finish(mut self) -> Result<Imported> {
        let last = std::mem::take(&mut self.rest);
        self.line(&last).await?;
        self.flush().await?;
        Ok(self.imported)
    }

    async fn line(&mut self, line: &[u8]) -> Result<()> {
        self.line += 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = if self.line == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(line);
        let mut record = csv::StringRecord::new();
        let fields = match reader.read_record(&mut record) {
            Ok(_) => record,
            Err(_) => {
                self.malformed("is not UTF-8".to_owned());
                return Ok(());
            }
        };
        let columns = match self.columns {
            Some(columns) => columns,
            None => {
                let named = names(&fields);
                self.columns = Some(named.unwrap_or_default());
                if named.is_some() {
                    return Ok(());
                }
                Columns::default()
            }
        };
        match entry(&fields, columns) {
            Ok(entry) => self.part.push(entry),
            Err(message) => self.malformed(message),
        }
        if self.part.len() >= PART { self.flush().await } else { Ok(()) }
    }

    fn malformed(&mut self, message: String) {
        self.imported.malformed += 1;
        if self.imported.errors.len() < MOST_TOLD {
            self.imported.errors.push(Malformed { line: self.line, message });
        }
    }

    async fn flush(&mut self) -> Result<()> {
        let all = self.part.len() as u64;
        let mut seen = HashSet::new();
        let mut part: Vec<Entry> = self.part.drain(..).filter(|entry| seen.insert((entry.kind, entry.value.clone()))).collect();
        // Everybody takes them in the same order, so that nobody waits in a circle.
        part.sort_by(|a, b| (a.kind, &a.value).cmp(&(b.kind, &b.value)));
        if part.is_empty() {
            return Ok(());
        }
        let added = sqlx::query(
            "INSERT INTO suppressions AS s (id, workspace_id, kind, value, reason, expires_at)
             SELECT uuid_v7(), $1, g.kind, g.value, g.reason, g.expires_at
             FROM unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[]) AS g (kind, value, reason, expires_at)
             ON CONFLICT (workspace_id, kind, value) DO UPDATE SET
                 reason = excluded.reason, expires_at = excluded.expires_at, updated_at = now()
             WHERE s.expires_at < coalesce(excluded.expires_at, 'infinity')",
        )
        .bind(self.workspace_id)
        .bind(part.iter().map(|entry| entry.kind).collect::<Vec<_>>())
        .bind(part.iter().map(|entry| entry.value.as_str()).collect::<Vec<_>>())
        .bind(part.iter().map(|entry| entry.reason).collect::<Vec<_>>())
        .bind(part.iter().map(|entry| entry.expires_at).collect::<Vec<_>>())
        .execute(&self.pool)
        .await?
        .rows_affected();
        self.imported.added += added;
        self.imported.known += all.saturating_sub(added);
        Ok(())
    }
}

/// The columns, where the first line names them.
fn names(fields: &csv::StringRecord) -> Option<Columns> {
    let at = |names: &[&str]| fields.iter().position(|field| names.iter().any(|name| field.trim().eq_ignore_ascii_case(name)));
    Some(Columns {
        value: at(&["value", "email", "address", "domain"])?,
        kind: at(&["kind"]),
        reason: at(&["reason"]),
        expires_at: at(&["expires_at"]),
    })
}

fn entry(fields: &csv::StringRecord, columns: Columns) -> Result<Entry, String> {
    let field = |at: Option<usize>| at.and_then(|at| fields.get(at)).map(str::trim).filter(|text| !text.is_empty());
    let value = field(Some(columns.value)).ok_or("is empty")?;
    let kind = match field(columns.kind) {
        None if value.contains('@') => Kind::Address,
        None => Kind::Domain,
        Some("address") => Kind::Address,
        Some("domain") => Kind::Domain,
        Some(other) => return Err(format!("{other:?} is no kind; there are address and domain")),
    };
    let reason = match field(columns.reason) {
        None => "manual",
        Some(given) => ["manual", "unsubscribe", "bounce", "complaint"]
            .into_iter()
            .find(|known| *known == given)
            .ok_or_else(|| format!("{given:?} is no reason; there are manual, unsubscribe, bounce and complaint"))?,
    };
    let expires_at = field(columns.expires_at)
        .map(|text| text.parse::<DateTime<Utc>>().map_err(|_| format!("{text:?} is no time such as 2026-01-31T12:00:00Z")))
        .transpose()?;
    let value = suppression::parsed(kind, value).map_err(|message| format!("{value:?} {message}"))?;
    Ok(Entry { kind: kind.name(), value, reason, expires_at })
}

/// The next `limit` suppressions in the order of their ids that count; `after` is the last one's id.
///
/// # Errors
/// The database failed.
pub async fn after(pool: &PgPool, scope: Scope, after: Option<Uuid>, limit: i64) -> Result<Vec<Suppression>> {
    let rows = sqlx::query_as(
        "SELECT id, workspace_id, kind, value, reason, expires_at, created_at FROM suppressions
         WHERE workspace_id = $1 AND id > $2 AND (expires_at IS NULL OR expires_at > now()) ORDER BY id LIMIT $3",
    )
    .bind(scope.workspace_id)
    .bind(after.unwrap_or_default())
    .bind(limit)
    .fetch_all(pool)
    .await?;
    Ok(rows)
}

/// The first line of the file that is written.
///
/// # Errors
/// Writing failed; it has no reason to.
pub fn header() -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS).map_err(Error::internal)?;
    writer.into_inner().map_err(Error::internal)
}

/// Lines of it.
///
/// # Errors
/// Writing failed; it has no reason to.
pub fn lines(rows: &[Suppression]) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::with_capacity(rows.len() * 96));
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    for row in rows {
        let expires_at = row.expires_at.map(time).unwrap_or_default();
        writer.write_record([&row.value, &row.kind, &row.reason, &expires_at, &time(row.created_at)]).map_err(Error::internal)?;
    }
    writer.into_inner().map_err(Error::internal)
}
