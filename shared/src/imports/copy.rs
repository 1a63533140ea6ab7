//! Rows in the binary format of PostgreSQL's COPY (its documentation: "COPY", section "Binary Format"): the cheapest way in, a page of
//! rows at a time.

use sqlx::{PgConnection, postgres::PgCopyIn};
use uuid::Uuid;

use crate::error::{Error, Result};

/// Signature, flags, and the length of an extension that is not there.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Stands where the number of a row's columns would: no row follows.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// Version of the binary form of jsonb: its text follows.
const JSONB_VERSION: u8 = 1;
/// Bytes from which on rows are sent.
const MESSAGE_BYTES: usize = 128 * 1024;

/// Rows on their way into one table.
pub struct Rows<'c> {
    copy: PgCopyIn<&'c mut PgConnection>,
    columns: i16,
    /// Written and not sent.
    bytes: Vec<u8>,
}

impl<'c> Rows<'c> {
    /// Begins `statement`, a `COPY … FROM STDIN (FORMAT binary)` of so many columns.
    ///
    /// # Errors
    /// The database failed.
    pub async fn begin(connection: &'c mut PgConnection, statement: &str, columns: i16) -> Result<Self> {
        let copy = connection.copy_in_raw(statement).await?;
        let mut bytes = Vec::with_capacity(MESSAGE_BYTES + MESSAGE_BYTES / 4);
        bytes.extend_from_slice(HEADER);
        Ok(Self { copy, columns, bytes })
    }

    /// A row begins; each of its columns follows, in order.
    pub fn row(&mut self) -> &mut Self {
        self.bytes.extend_from_slice(&self.columns.to_be_bytes());
        self
    }

    /// A column of type uuid.
    pub fn uuid(&mut self, value: Uuid) -> &mut Self {
        self.column(&[], value.as_bytes())
    }

    /// A column of type text.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.column(&[], value.as_bytes())
    }

    /// A column of type jsonb, from its text.
    pub fn jsonb(&mut self, text: &str) -> &mut Self {
        self.column(&[JSONB_VERSION], text.as_bytes())
    }

    fn column(&mut self, before: &[u8], value: &[u8]) -> &mut Self {
        // Values are bounded by the part that they are read in: a few megabytes.
        let length = u32::try_from(before.len() + value.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(before);
        self.bytes.extend_from_slice(value);
        self
    }

    /// Sends what is written, once it is worth a message.
    ///
    /// # Errors
    /// The database failed, or refused an earlier row.
    pub async fn send(&mut self) -> Result<()> {
        if self.bytes.len() >= MESSAGE_BYTES {
            self.copy.send(self.bytes.as_slice()).await?;
            self.bytes.clear();
        }
        Ok(())
    }

    /// Sends the rest; answers how many rows came in.
    ///
    /// # Errors
    /// The database refused a row, or failed: none of them is there then.
    pub async fn finish(mut self) -> Result<u64> {
        self.bytes.extend_from_slice(&TRAILER);
        self.copy.send(self.bytes.as_slice()).await?;
        self.copy.finish().await.map_err(Error::from)
    }
}
