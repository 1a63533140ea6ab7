use std::str::FromStr;

use shared::settings::{Secret, Timeouts};

/// A mail server that takes our mails, and how to talk to it.
#[derive(Clone, Debug)]
pub struct Relay {
    /// A name or an IP address (v6 without brackets).
    pub host: String,
    /// Usually 25, 465 (implicit TLS) or 587.
    pub port: u16,
    /// What encryption is asked of it.
    pub tls: TlsMode,
    /// With one, AUTH must succeed.
    pub username: Option<String>,
    /// Given to AUTH; never over plain text, but to a loopback address.
    pub password: Option<Secret>,
    /// What EHLO says; empty: the address literal of our end of the connection.
    pub hello_name: String,
    /// Seconds per step.
    pub timeouts: Timeouts,
}

/// Encryption of the connection to a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsMode {
    /// Plain text.
    None,
    /// STARTTLS where it is offered, any certificate; plain text where that fails and there are no credentials (RFC 7435).
    Opportunistic,
    /// STARTTLS with a certificate that is valid for the host, or no session.
    Required,
    /// TLS from the first byte (RFC 8314), with a certificate that is valid for the host.
    Implicit,
}

impl FromStr for TlsMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "opportunistic" => Ok(Self::Opportunistic),
            "required" => Ok(Self::Required),
            "implicit" => Ok(Self::Implicit),
            other => Err(format!("tls must be none, opportunistic, required or implicit, not {other:?}")),
        }
    }
}
