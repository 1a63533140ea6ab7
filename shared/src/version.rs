//! Which version of a row a client has seen: what `If-Match` names. A change that expects one is made only while the row is still that.

use chrono::{DateTime, Utc};

use crate::error::{Error, Result};

/// What a change expects of the row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it is.
    #[default]
    Any,
    /// Changed last at one of these times (microseconds of the epoch).
    OneOf(Vec<i64>),
}

impl Expected {
    /// Asked with the row's lock in hand, so that of two changes that expect the same version exactly one is made.
    ///
    /// # Errors
    /// [`Error::Outdated`]: somebody has changed it.
    pub fn check(&self, what: &'static str, id: impl std::fmt::Display, updated_at: DateTime<Utc>) -> Result<()> {
        match self {
            Self::OneOf(versions) if !versions.contains(&updated_at.timestamp_micros()) => {
                Err(Error::Outdated(format!("{what} {id} is no longer what If-Match names: read it again")))
            }
            _ => Ok(()),
        }
    }
}
