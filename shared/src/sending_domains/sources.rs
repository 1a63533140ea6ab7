//! Which servers send for a domain: what its SPF record must name.

use std::net::IpAddr;

use sqlx::PgConnection;

use crate::{error::Result, routes::relay_url::RelayUrl, settings::Settings};

/// The servers. Where neither `sending.spf_ips` nor `sending.spf_include` says, the relays of the routes themselves are meant, which is
/// true of a relay that hands mail on from the address that it takes it at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Addresses.
    pub ips: Vec<IpAddr>,
    /// Names whose addresses send.
    pub hosts: Vec<String>,
    /// Names whose SPF records say who sends.
    pub includes: Vec<String>,
}

impl Sources {
    /// Those of the settings, or of the routes that are not disabled.
    ///
    /// # Errors
    /// The database failed.
    pub async fn read(connection: &mut PgConnection, settings: &Settings) -> Result<Self> {
        let mut sources = Self {
            ips: settings.sending.spf_addresses().unwrap_or_default(),
            hosts: Vec::new(),
            includes: names(&settings.sending.spf_include),
        };
        if !sources.ips.is_empty() || !sources.includes.is_empty() {
            return Ok(sources);
        }
        let urls: Vec<String> =
            sqlx::query_scalar("SELECT url FROM routes WHERE disabled_at IS NULL ORDER BY id").fetch_all(connection).await?;
        for host in urls.iter().filter_map(|url| RelayUrl::parse(url).ok()).map(|url| url.host) {
            match host.trim_matches(['[', ']']).parse::<IpAddr>() {
                Ok(ip) if !sources.ips.contains(&ip) => sources.ips.push(ip),
                Err(_) if !sources.hosts.contains(&host) => sources.hosts.push(host),
                _ => {}
            }
        }
        Ok(sources)
    }

    /// Whether nothing is known of who sends.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ips.is_empty() && self.hosts.is_empty() && self.includes.is_empty()
    }

    /// The SPF record that lets all of them send, and asks receivers to be wary of others (RFC 7208 section 8.5: DMARC does the rest).
    #[must_use]
    pub fn record(&self) -> String {
        let mut terms = vec!["v=spf1".to_owned()];
        terms.extend(self.ips.iter().map(|ip| match ip {
            IpAddr::V4(ip) => format!("ip4:{ip}"),
            IpAddr::V6(ip) => format!("ip6:{ip}"),
        }));
        terms.extend(self.hosts.iter().map(|host| format!("a:{host}")));
        terms.extend(self.includes.iter().map(|name| format!("include:{name}")));
        terms.push("~all".to_owned());
        terms.join(" ")
    }
}

fn names(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_lowercase).collect()
}
