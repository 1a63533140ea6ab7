//! A file as parts of contacts: the reading half of a run.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::task::coop;

use super::{
    format::{self, HEAD_BYTES},
    header::Header,
    records::{LONGEST_RECORD, Records, Step},
    row::{self, Row, RowError},
};
use crate::store::StoreError;

/// Bytes that a part takes at most, of the file as well as in memory, whatever its records: each repeats the names of its columns, and what
/// is wrong with it repeats the record.
const PART_BYTES: u64 = 8 * 1024 * 1024;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It never can: a sentence for whoever uploaded it.
    #[error("{0}")]
    Refused(String),
    /// It cannot now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What one transaction loads.
#[derive(Debug, Default)]
pub struct Part {
    /// Records that were read for it.
    pub records: i64,
    /// Those that are contacts, in the file's order.
    pub rows: Vec<Row>,
    /// Records that are none.
    pub invalid: i64,
    /// What is wrong with those.
    pub errors: Vec<RowError>,
    /// Bytes of the file up to its end.
    pub bytes_done: i64,
    /// Whether nothing follows.
    pub last: bool,
}

/// A file that is being read.
#[derive(Debug)]
pub struct Source<S> {
    bytes: S,
    records: Records,
    header: Header,
}

impl<S: Stream<Item = Result<Bytes, StoreError>> + Unpin> Source<S> {
    /// Finds out the format and reads the header.
    ///
    /// # Errors
    /// The file is not CSV, empty, or its header is of no use.
    pub async fn open(mut bytes: S) -> Result<Self, SourceError> {
        let mut head = Vec::new();
        let mut whole = false;
        while head.len() < HEAD_BYTES && !whole {
            match bytes.next().await {
                Some(piece) => head.extend_from_slice(&piece?),
                None => whole = true,
            }
        }
        let looked_at = &head[..head.len().min(HEAD_BYTES)];
        if format::is_blank(looked_at) && whole {
            return Err(SourceError::Refused("the file is empty".to_owned()));
        }
        format::check(looked_at).map_err(|reason| SourceError::Refused(format!("the file {reason}")))?;
        let format = format::detect(looked_at, whole);
        let mut records = Records::new(format.delimiter, format.line, format.skip as u64);
        records.push(&head[format.skip..]);
        let step = fill(&mut records, &mut bytes).await?;
        let header = match step {
            Step::Record => Header::parse(records.current().fields()),
            Step::BadQuote | Step::Hopeless => Err("the header has a quote that is not closed, or is too long".to_owned()),
            Step::NeedMore | Step::End => Err("the file is empty".to_owned()),
        };
        Ok(Self { bytes, records, header: header.map_err(SourceError::Refused)? })
    }

    /// Passes over at most `most` records; answers how many.
    ///
    /// # Errors
    /// As [`Source::part`].
    pub async fn skip(&mut self, most: i64) -> Result<i64, SourceError> {
        let mut skipped = 0;
        while skipped < most {
            match fill(&mut self.records, &mut self.bytes).await? {
                Step::Record if row::is_blank(&self.records.current()) => {}
                Step::Record | Step::BadQuote => skipped += 1,
                Step::Hopeless => return Err(self.hopeless()),
                Step::NeedMore | Step::End => break,
            }
        }
        Ok(skipped)
    }

    /// The next at most `most` records.
    ///
    /// # Errors
    /// The store failed, or the file is full of quotes that are never closed.
    pub async fn part(&mut self, most: i64) -> Result<Part, SourceError> {
        let mut part = Part::default();
        let begin = self.records.offset();
        let mut kept = 0;
        while part.records < most && self.records.offset() - begin < PART_BYTES && kept < PART_BYTES {
            match fill(&mut self.records, &mut self.bytes).await? {
                Step::Record if row::is_blank(&self.records.current()) => continue,
                Step::Record => match row::parse(&self.header, &self.records.current()) {
                    Ok(row) => {
                        kept += row.bytes() as u64;
                        part.rows.push(row);
                    }
                    Err(mut errors) => {
                        part.invalid += 1;
                        kept += errors.iter().map(RowError::bytes).sum::<usize>() as u64;
                        part.errors.append(&mut errors);
                    }
                },
                Step::BadQuote => {
                    part.invalid += 1;
                    let record = self.records.current();
                    let error = if record.raw.len() > LONGEST_RECORD {
                        row::refuse(&record, format!("is longer than {LONGEST_RECORD} bytes"))
                    } else {
                        row::refuse(&record, "has a quote that is not closed, or text behind a closing quote")
                    };
                    kept += error.bytes() as u64;
                    part.errors.push(error);
                }
                Step::Hopeless => return Err(self.hopeless()),
                Step::NeedMore | Step::End => {
                    part.last = true;
                    break;
                }
            }
            part.records += 1;
        }
        part.bytes_done = i64::try_from(self.records.offset()).unwrap_or(i64::MAX);
        Ok(part)
    }

    fn hopeless(&self) -> SourceError {
        let line = self.records.current().line;
        SourceError::Refused(format!(
            "the file has too many quotes that are not closed; line {line} has the last that was looked at"
        ))
    }
}

/// The next step that is not [`Step::NeedMore`].
async fn fill<S>(records: &mut Records, bytes: &mut S) -> Result<Step, StoreError>
where
    S: Stream<Item = Result<Bytes, StoreError>> + Unpin,
{
    loop {
        // A piece holds ten thousands of records; others want to run too.
        coop::consume_budget().await;
        match records.advance() {
            Step::NeedMore => match bytes.next().await {
                Some(piece) => records.push(&piece?),
                None => records.end(),
            },
            step => return Ok(step),
        }
    }
}
