//! Names that must resolve. Asked as the servers themselves ask: through the system's resolver.

use std::time::Duration;

use super::Check;

const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the host of `api.public_url`, which stands in every mail, resolves.
pub async fn public_name(url: &url::Url) -> Check {
    let name = "dns.public_url";
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(443);
    match resolve(host, port).await {
        Ok(addresses) => Check::ok(name, format!("{host} is {addresses}")),
        Err(reason) => {
            let mend = "make a DNS record for it, or correct api.public_url: links in mails begin with it";
            Check::fail(name, format!("{host} does not resolve: {reason}"), mend)
        }
    }
}

/// The addresses of a host, in one line.
///
/// # Errors
/// Why there are none.
pub async fn resolve(host: &str, port: u16) -> Result<String, String> {
    let host = host.trim_matches(['[', ']']);
    match tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, port))).await {
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(found)) => {
            let mut addresses: Vec<String> = found.map(|address| address.ip().to_string()).collect();
            addresses.sort();
            addresses.dedup();
            if addresses.is_empty() { Err("it has no address".to_owned()) } else { Ok(addresses.join(", ")) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    #[tokio::test]
    async fn a_name_that_does_not_resolve_fails() {
        let verdict = async |url: &str| public_name(&url.parse().expect("a URL")).await.verdict;
        assert_eq!(verdict("http://127.0.0.1:8080").await, Verdict::Ok);
        assert_eq!(verdict("http://[::1]:8080").await, Verdict::Ok);
        assert_eq!(verdict("https://mails.invalid").await, Verdict::Fail);
    }
}
