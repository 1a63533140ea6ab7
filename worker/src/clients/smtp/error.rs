use std::io;

use shared::deliveries::reply::Stage;

use super::reply::{Malformed, Reply};

/// A session that could not be had. The relay is at fault, never a recipient.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No TCP connection.
    #[error("cannot connect to {host}:{port}: {error}")]
    Connect {
        /// As in the relay.
        host: String,
        /// As in the relay.
        port: u16,
        /// What the system said; `TimedOut` for our own limit.
        error: io::Error,
    },
    /// It answered, and refused.
    #[error("the relay refused at {stage}: {reply}")]
    Refused {
        /// Which step.
        stage: Stage,
        /// Its words.
        reply: Reply,
    },
    /// No or no understandable answer.
    #[error(transparent)]
    Broken(#[from] SessionError),
    /// The handshake failed, e.g. on the certificate.
    #[error("no TLS with {host}: {error}")]
    Tls {
        /// As in the relay.
        host: String,
        /// What rustls said.
        error: io::Error,
    },
    /// TLS is required and EHLO does not offer STARTTLS.
    #[error("TLS is required and {host} does not offer STARTTLS")]
    TlsNotOffered {
        /// As in the relay.
        host: String,
    },
    /// There are credentials and the connection is not encrypted.
    #[error("credentials are not sent to {host} over an unencrypted connection")]
    AuthInPlainText {
        /// As in the relay.
        host: String,
    },
    /// Neither PLAIN nor LOGIN is offered.
    #[error("{host} offers neither AUTH PLAIN nor AUTH LOGIN")]
    AuthNotOffered {
        /// As in the relay.
        host: String,
    },
    /// The route's breaker opened while we were connecting: what others saw is enough.
    #[error("{host} is out of use")]
    OutOfUse {
        /// As in the relay.
        host: String,
    },
    /// The relay's own settings cannot be used.
    #[error("the relay's {field} cannot be used: {value:?}")]
    Unusable {
        /// Which setting.
        field: &'static str,
        /// Its value; empty where it is secret.
        value: String,
    },
}

impl OpenError {
    /// The step that failed.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self {
            Self::Connect { .. } | Self::OutOfUse { .. } => Stage::Connect,
            Self::Refused { stage, .. } => *stage,
            Self::Broken(error) => error.stage,
            Self::Tls { .. } | Self::TlsNotOffered { .. } => Stage::Tls,
            Self::AuthInPlainText { .. } | Self::AuthNotOffered { .. } => Stage::Auth,
            Self::Unusable { .. } => Stage::Hello,
        }
    }

    /// What the relay said, if that was the reason.
    #[must_use]
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Refused { reply, .. } => Some(reply),
            _ => None,
        }
    }
}

/// A session that broke, or a message that it could not carry.
#[derive(Debug, thiserror::Error)]
#[error("{stage}: {trouble}")]
pub struct SessionError {
    /// The step at which it broke; [`Stage::Reuse`]: the server had closed a connection that was kept open, nothing is lost.
    pub stage: Stage,
    /// How.
    pub trouble: Trouble,
}

/// How a session broke.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// It took longer than its limit.
    #[error("no answer within {0} s")]
    Timeout(u64),
    /// The system's word.
    #[error("{0}")]
    Io(io::Error),
    /// Bytes that are no reply.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// Nothing was written: this message cannot go over this session. The session stays usable.
    #[error("{0}")]
    Invalid(#[from] Invalid),
}

/// Why a message was not even offered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It would break out of its command line (CR, LF, NUL, blank, angle bracket), or is longer than 254 bytes, or empty.
    #[error("{0:?} cannot be an envelope address")]
    Address(String),
    /// RFC 6531: 5.6.7, permanent for this server.
    #[error("{0:?} is not ASCII and the server does not offer SMTPUTF8")]
    NeedsUtf8(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match error.kind() {
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

impl Trouble {
    pub(super) fn at(self, stage: Stage) -> SessionError {
        SessionError { stage, trouble: self }
    }
}
