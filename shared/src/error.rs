//! The one error of the business. Its text is for the client's eyes, except [`Error::Internal`] and [`Error::Database`], whose
//! text is for the log only.

use std::fmt;

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FieldError {
    /// Path of the field, e.g. `from.email`.
    pub field: String,
    /// What is wrong, with the value where it helps: lower case, no full stop.
    pub message: String,
}

impl FieldError {
    /// An error of `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// Why the business refused or could not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// 400: the input, field by field.
    #[error("{}", Fields(.0))]
    Invalid(Vec<FieldError>),
    /// 401: no, wrong or expired credentials.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// 403: there, but not yours, or not for your role.
    #[error("{0}")]
    Forbidden(String),
    /// 404: not there.
    #[error("{what} {id} does not exist")]
    NotFound {
        /// The noun, e.g. `campaign`.
        what: &'static str,
        /// As the client spelled it.
        id: String,
    },
    /// 409: the thing is in another state, or the name is taken.
    #[error("{0}")]
    Conflict(String),
    /// 412: the row has been changed since the client read it.
    #[error("{0}")]
    Outdated(String),
    /// 413: more bytes than the settings allow.
    #[error("the body is larger than {limit_bytes} bytes")]
    TooLarge {
        /// From the settings.
        limit_bytes: u64,
    },
    /// 429: too often.
    #[error("{reason}")]
    TooOften {
        /// What, and how long to wait.
        reason: String,
        /// When it is worth another try.
        retry_after_seconds: u64,
    },
    /// 503: no capacity for this just now.
    #[error("{what}; try again in {retry_after_seconds} s")]
    Busy {
        /// What there is too much of.
        what: &'static str,
        /// When it is worth another try.
        retry_after_seconds: u64,
    },
    /// 500: PostgreSQL failed or refused.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// 500: something else inside failed.
    #[error("internal: {0}")]
    Internal(String),
}

struct Fields<'a>(&'a [FieldError]);

impl fmt::Display for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", error.field, error.message)?;
        }
        Ok(())
    }
}

impl Error {
    /// One wrong field.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(field, message)])
    }

    /// `what` with this id is not there.
    pub fn not_found(what: &'static str, id: impl fmt::Display) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }

    /// A failure inside, told to the log only.
    pub fn internal(error: impl fmt::Display) -> Self {
        Self::Internal(error.to_string())
    }

    /// Whether the fault lies in the machinery and passes by itself: PostgreSQL is gone, restarting or full of connections.
    #[must_use]
    pub fn is_infrastructure(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(error)) => {
                // Classes 08 connection, 53 resources, 57 operator intervention, 40 rollback, and 55P03: a lock was not to be had in time.
                // Not 57014: a statement that takes too long takes too long again.
                error.code().is_some_and(|code| {
                    code == "55P03" || (code != "57014" && ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class)))
                })
            }
            Self::Database(
                sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_),
            ) => true,
            _ => false,
        }
    }

    /// The name of the violated constraint, where a constraint was violated.
    pub fn constraint(error: &sqlx::Error) -> Option<&str> {
        error.as_database_error().and_then(|e| e.constraint())
    }
}

/// What the business answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;
