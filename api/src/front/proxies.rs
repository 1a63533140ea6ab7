//! Who asks. The peer of the connection, unless that is a proxy of ours: then the rightmost address of X-Forwarded-For that is not. What
//! stands further left was written by whoever asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, request::Parts},
};
use ipnet::IpNet;

use super::listed;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The other end of the connection; the listener puts it into each request.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether it came over our own TLS.
    pub tls: bool,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// The client's address, as far as we can trust anybody about it.
    pub ip: IpAddr,
    /// Whether the client speaks TLS, to us or to a proxy that we trust.
    pub https: bool,
}

impl Default for Visitor {
    fn default() -> Self {
        Self { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), https: false }
    }
}

impl Visitor {
    /// Whom a limit counts: an IPv6 client has a whole /64 to itself, so that is one.
    #[must_use]
    pub fn counted_as(self) -> IpAddr {
        match self.ip {
            IpAddr::V4(_) => self.ip,
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().copied().unwrap_or_default())
    }
}

/// The proxies that we trust.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// From `api.trusted_proxies`: addresses and networks with commas.
    ///
    /// # Errors
    /// A sentence that names the setting and the value.
    pub fn parse(setting: &str) -> Result<Self, String> {
        let net = |item: &str| item.parse::<IpNet>().or_else(|_| item.parse::<IpAddr>().map(IpNet::from));
        let nets = listed(setting).map(|item| {
            net(item)
                .map_err(|_| format!("settings: api.trusted_proxies: {item:?} is neither an address nor a network like 10.0.0.0/8"))
        });
        nets.collect::<Result<_, _>>().map(Self)
    }

    fn trust(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&ip))
    }

    /// Who asks.
    #[must_use]
    pub fn visitor(&self, peer: Option<Peer>, headers: &HeaderMap) -> Visitor {
        let Some(Peer { address, tls }) = peer else { return Visitor::default() };
        // A listener on [::] tells IPv4 clients as ::ffff:a.b.c.d.
        let mut ip = address.ip().to_canonical();
        if self.0.is_empty() || !self.trust(ip) {
            return Visitor { ip, https: tls };
        }
        let hops = headers.get_all(FORWARDED_FOR).iter().flat_map(|value| value.to_str().unwrap_or("?").split(','));
        for hop in hops.collect::<Vec<_>>().into_iter().rev() {
            // What a proxy of ours could not have written ends the chain: the client is then that proxy's business.
            let Some(hop) = address_of(hop.trim()) else { break };
            ip = hop;
            if !self.trust(ip) {
                break;
            }
        }
        let https = headers.get_all(FORWARDED_PROTO).iter().next_back().and_then(|value| value.to_str().ok());
        let https =
            https.and_then(|value| value.rsplit(',').next()).is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"));
        Visitor { ip, https: tls || https }
    }
}

/// An address, which some proxies write with a port.
fn address_of(hop: &str) -> Option<IpAddr> {
    let ip = hop.parse::<IpAddr>().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()));
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    ip.or_else(bracketed).map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(trusted: &str, peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, value.parse().expect("a value"));
        }
        let peer = Peer { address: SocketAddr::new(peer.parse().expect("an address"), 4711), tls: false };
        Proxies::parse(trusted).expect("networks").visitor(Some(peer), &headers).ip.to_string()
    }

    #[test]
    fn only_a_trusted_peer_is_believed_and_only_the_rightmost_stranger() {
        let spoofed = ["6.6.6.6, 198.51.100.4, 10.0.0.9"];
        assert_eq!(asks("", "203.0.113.7", &spoofed), "203.0.113.7");
        assert_eq!(asks("10.0.0.0/8", "203.0.113.7", &spoofed), "203.0.113.7");
        assert_eq!(asks("10.0.0.0/8", "10.0.0.1", &spoofed), "198.51.100.4");
        assert_eq!(asks("10.0.0.0/8", "10.0.0.1", &["6.6.6.6", "198.51.100.4"]), "198.51.100.4");
        assert_eq!(asks("10.0.0.0/8", "10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(asks("10.0.0.0/8", "10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        assert_eq!(asks("10.0.0.0/8", "10.0.0.1", &["6.6.6.6, unknown"]), "10.0.0.1");
        assert_eq!(asks("10.0.0.1, fd00::/8", "fd00::1", &["198.51.100.4:5060"]), "198.51.100.4");
        assert_eq!(asks("10.0.0.1", "::ffff:10.0.0.1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(asks("10.0.0.1", "::ffff:10.0.0.1", &["[2001:db8::1]"]), "2001:db8::1");
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let visitor = |ip: &str| Visitor { ip: ip.parse().expect("an address"), https: false };
        assert_eq!(visitor("2001:db8:1:2:3:4:5:6").counted_as(), visitor("2001:db8:1:2:ffff::").counted_as());
        assert_ne!(visitor("2001:db8:1:2::1").counted_as(), visitor("2001:db8:1:3::1").counted_as());
        assert_eq!(visitor("203.0.113.7").counted_as().to_string(), "203.0.113.7");
    }

    #[test]
    fn a_wrong_network_is_refused_at_the_start() {
        let error = Proxies::parse("10.0.0.0/8, everybody").expect_err("no network");
        assert_eq!(error, "settings: api.trusted_proxies: \"everybody\" is neither an address nor a network like 10.0.0.0/8");
    }
}
