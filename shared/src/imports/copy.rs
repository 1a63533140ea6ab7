//! Rows in the binary format of PostgreSQL's COPY (its documentation: "COPY", section "Binary Format"): the cheapest way in, a page of
//! rows at a time.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::{Error, Result};

/// Signature, flags, and the length of an extension that is not there.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Stands where the number of a row's columns would: no row follows.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// Version of the binary form of jsonb: its text follows.
const JSONB_VERSION: u8 = 1;
/// Bytes of one message to the server.
const MESSAGE_BYTES: usize = 256 * 1024;

/// Rows on their way into one table.
#[derive(Debug)]
pub struct Rows {
    bytes: Vec<u8>,
    columns: i16,
}

impl Rows {
    /// No rows of so many columns yet; `bytes` is how much room to keep for them.
    #[must_use]
    pub fn of(columns: i16, bytes: usize) -> Self {
        let mut rows = Vec::with_capacity(HEADER.len() + bytes + TRAILER.len());
        rows.extend_from_slice(HEADER);
        Self { bytes: rows, columns }
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

    /// Sends the rows by `statement`, a `COPY … FROM STDIN (FORMAT binary)`.
    ///
    /// # Errors
    /// The database refused a row, or failed: none of them is there then.
    pub async fn send(mut self, connection: &mut PgConnection, statement: &str) -> Result<u64> {
        self.bytes.extend_from_slice(&TRAILER);
        let mut copy = connection.copy_in_raw(statement).await?;
        for message in self.bytes.chunks(MESSAGE_BYTES) {
            copy.send(message).await?;
        }
        copy.finish().await.map_err(Error::from)
    }
}
