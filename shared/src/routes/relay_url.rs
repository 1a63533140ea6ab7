//! Where a relay is: `smtp://host:port`, perhaps with credentials that are kept elsewhere.

use url::{Host, Url};

/// The port of SMTP between servers, RFC 5321 section 4.5.4.2.
const DEFAULT_PORT: u16 = 25;

/// A relay's address and the credentials that stood in it.
#[derive(Clone, PartialEq, Eq)]
pub struct RelayUrl {
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// 25 unless said.
    pub port: u16,
    /// Whether the host is this machine.
    pub loopback: bool,
    /// From the URL.
    pub username: Option<String>,
    /// From the URL.
    pub password: Option<String>,
}

impl RelayUrl {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong, without the URL: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
        match url.scheme() {
            "smtp" => {}
            "smtps" => return Err("begins with smtps; write smtp://host:465 and tls=implicit".to_owned()),
            other => return Err(format!("begins with {other}, not smtp")),
        }
        // The scheme is none that the URL standard knows, so the host has not been read as a name yet.
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("has no host")?;
        let host = Host::parse(host).map_err(|error| format!("has the host {host:?}: {error}"))?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err("has something after the port".to_owned());
        }
        let port = url.port().unwrap_or(DEFAULT_PORT);
        if port == 0 {
            return Err("has port 0".to_owned());
        }
        let (host, loopback) = match host {
            Host::Domain(name) => {
                let loopback = name == "localhost" || name.ends_with(".localhost");
                (name, loopback)
            }
            Host::Ipv4(address) => (address.to_string(), address.is_loopback()),
            Host::Ipv6(address) => (address.to_string(), address.is_loopback()),
        };
        let username = decoded(url.username())?;
        let password = url.password().map_or(Ok(None), decoded)?;
        if password.is_some() && username.is_none() {
            return Err("has a password without a user name".to_owned());
        }
        Ok(Self { host, port, loopback, username, password })
    }

    /// As it is stored and shown: without credentials.
    #[must_use]
    pub fn without_credentials(&self) -> String {
        if self.host.contains(':') {
            format!("smtp://[{}]:{}", self.host, self.port)
        } else {
            format!("smtp://{}:{}", self.host, self.port)
        }
    }
}

fn decoded(text: &str) -> Result<Option<String>, String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let pair = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok()).and_then(|p| u8::from_str_radix(p, 16).ok());
        match (first, pair) {
            (b'%', Some(octet)) => {
                octets.push(octet);
                rest = &after[2..];
            }
            _ => {
                octets.push(first);
                rest = after;
            }
        }
    }
    let text = String::from_utf8(octets).map_err(|_| "has credentials that are not UTF-8")?;
    if text.chars().any(char::is_control) {
        return Err("has a control character in its credentials".to_owned());
    }
    Ok((!text.is_empty()).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match RelayUrl::parse(text) {
            Ok(url) => format!("{} {:?} {:?}", url.without_credentials(), url.username, url.password),
            Err(reason) => reason,
        }
    }

    #[test]
    fn credentials_are_taken_out_and_the_port_has_a_default() {
        assert_eq!(shown("smtp://Mail.Example.com"), "smtp://mail.example.com:25 None None");
        assert_eq!(shown("smtp://a%40b:p%3Aw@[::1]:2525/"), "smtp://[::1]:2525 Some(\"a@b\") Some(\"p:w\")");
    }

    #[test]
    fn another_url_is_refused_with_its_reason() {
        let refused = [
            "smtps://mail.example.com",
            "http://x.test",
            "mail.example.com:25",
            "smtp://",
            "smtp://h:0",
            "smtp://h/x",
            "smtp://:p@h",
            "smtp://a%0d:b@h",
            "smtp://a b",
        ];
        insta::assert_snapshot!(refused.map(shown).join("\n"), @r"
        begins with smtps; write smtp://host:465 and tls=implicit
        begins with http, not smtp
        begins with mail.example.com, not smtp
        has no host
        has port 0
        has something after the port
        has a password without a user name
        has a control character in its credentials
        is not a URL: invalid domain character
        ");
    }
}
