//! A part as the database takes it: one row an address, in the order of addresses.

use std::cmp::Ordering;

use uuid::Uuid;

use super::{
    row::{Row, RowError},
    source::Part,
};
use crate::error::{Error, Result};

/// A contact that is to be there.
#[derive(Clone, Debug)]
pub struct Staged {
    /// Its id, if it is new.
    pub id: Uuid,
    /// Valid, lower case.
    pub email: String,
    /// May be empty.
    pub name: String,
    /// An object, as JSON.
    pub attributes: String,
}

/// What one transaction loads.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Records of the file.
    pub records: i64,
    /// Records that are no contacts.
    pub invalid: i64,
    /// Records whose address stood in an earlier one of the part; they are merged with it.
    pub duplicate: i64,
    /// The contacts, in the order of addresses: two imports that lock the same contacts do it in the same order.
    pub contacts: Vec<Staged>,
    /// What is wrong with records.
    pub errors: Vec<RowError>,
    /// Bytes of the file up to the end of the part.
    pub bytes_done: i64,
    /// Whether nothing follows.
    pub last: bool,
}

impl Batch {
    /// Merges and sorts what was read.
    ///
    /// # Errors
    /// Attributes are no JSON.
    pub fn of(part: Part) -> Result<Self> {
        let valid = part.rows.len();
        let merged = merge(part.rows)?;
        let duplicate = i64::try_from(valid - merged.len()).map_err(Error::internal)?;
        let contacts = merged
            .into_iter()
            .map(|Row { email, name, attributes }| Staged { id: Uuid::now_v7(), email, name, attributes })
            .collect();
        let Part { records, invalid, errors, bytes_done, last, .. } = part;
        Ok(Self { records, invalid, duplicate, contacts, errors, bytes_done, last })
    }

    /// Whether an address stands in both.
    #[must_use]
    pub fn shares_an_address(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.contacts.iter().peekable(), other.contacts.iter().peekable());
        while let (Some(our), Some(their)) = (ours.peek(), theirs.peek()) {
            match our.email.cmp(&their.email) {
                Ordering::Less => ours.next(),
                Ordering::Greater => theirs.next(),
                Ordering::Equal => return true,
            };
        }
        false
    }
}

/// One row an address, in the order of addresses: later rows of the file are taken into the first.
fn merge(mut rows: Vec<Row>) -> Result<Vec<Row>> {
    rows.sort_by(|one, other| one.email.cmp(&other.email));
    let mut merged: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        match merged.last_mut() {
            Some(first) if first.email == row.email => first.absorb(row)?,
            _ => merged.push(row),
        }
    }
    Ok(merged)
}
