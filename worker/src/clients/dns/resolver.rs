//! Asks name servers.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RData, RecordType},
    },
};

use super::{
    answer::{Answer, Exchange, MailExchanges},
    flights::Flights,
};

/// Answers that are kept; each is a few hundred bytes.
const CACHED: u64 = 8192;
/// A record is asked for again after this time, whatever its TTL.
const KEPT: Duration = Duration::from_secs(300);
/// What was not there is asked for again after this time: somebody may be about to publish it.
const KEPT_NEGATIVE: Duration = Duration::from_secs(30);

type Records = Answer<Arc<Vec<RData>>>;

/// A client of name servers. Clones share the cache and the look-ups under way.
#[derive(Clone)]
pub struct Dns(Arc<Inner>);

struct Inner {
    resolver: TokioResolver,
    flights: Flights<(Name, RecordType), Records>,
    deadline: Duration,
}

impl Dns {
    /// A client with an empty cache, of the servers of `dns.servers`, or of those that the system asks.
    ///
    /// # Errors
    /// A sentence that names the setting and the value.
    pub fn from_settings(settings: &shared::settings::Dns) -> Result<Self, String> {
        let provider = TokioRuntimeProvider::default();
        let mut builder = if settings.servers.trim().is_empty() {
            TokioResolver::builder(provider).map_err(|error| format!("dns.servers is empty, and the system names none: {error}"))?
        } else {
            let servers = settings.addresses()?.into_iter().map(server).collect();
            TokioResolver::builder_with_config(ResolverConfig::from_name_servers(servers), provider)
        };
        let timeout = Duration::from_millis(settings.timeout_ms);
        let options = builder.options_mut();
        options.timeout = timeout;
        options.attempts = settings.attempts.saturating_sub(1);
        options.cache_size = CACHED;
        options.positive_max_ttl = Some(KEPT);
        options.negative_max_ttl = Some(KEPT_NEGATIVE);
        options.use_hosts_file = ResolveHosts::Never;
        options.max_active_requests = 1024;
        let resolver = builder.build().map_err(|error| format!("dns.servers {:?}: {error}", settings.servers))?;
        // A truncated answer is asked for again over TCP, within the same attempt.
        let deadline = timeout * u32::try_from(settings.attempts.max(1) + 1).unwrap_or(u32::MAX);
        Ok(Self(Arc::new(Inner { resolver, flights: Flights::default(), deadline })))
    }

    /// TXT records, each with its strings put together, as RFC 7208 section 3.3 and RFC 6376 section 3.6.2.2 want it.
    pub async fn txt(&self, name: &str) -> Answer<Vec<String>> {
        self.records(name, RecordType::TXT, |data| match data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        })
        .await
    }

    /// Where mail for the domain goes. What has no MX record is not looked up as a host here.
    pub async fn mx(&self, domain: &str) -> Answer<MailExchanges> {
        let found = self
            .records(domain, RecordType::MX, |data| match data {
                RData::MX(mx) => Some(Exchange { preference: mx.preference, host: host(&mx.exchange) }),
                _ => None,
            })
            .await;
        found.map(|mut exchanges: Vec<Exchange>| {
            exchanges.sort();
            // A null one beside others is a mistake; RFC 7505 section 3 forbids it, and the others are meant.
            let hosts: Vec<Exchange> = exchanges.into_iter().filter(|exchange| !exchange.host.is_empty()).collect();
            if hosts.is_empty() { MailExchanges::Null } else { MailExchanges::Hosts(hosts) }
        })
    }

    /// IPv4 addresses.
    pub async fn a(&self, host: &str) -> Answer<Vec<Ipv4Addr>> {
        self.records(host, RecordType::A, |data| match data {
            RData::A(a) => Some(a.0),
            _ => None,
        })
        .await
    }

    /// IPv6 addresses.
    pub async fn aaaa(&self, host: &str) -> Answer<Vec<Ipv6Addr>> {
        self.records(host, RecordType::AAAA, |data| match data {
            RData::AAAA(aaaa) => Some(aaaa.0),
            _ => None,
        })
        .await
    }

    /// Names of an address.
    pub async fn ptr(&self, ip: IpAddr) -> Answer<Vec<String>> {
        self.look_up(Name::from(ip), RecordType::PTR, |data| match data {
            RData::PTR(ptr) => Some(host(&ptr.0)),
            _ => None,
        })
        .await
    }

    /// The name that this one is an alias of. The other questions follow aliases by themselves.
    pub async fn cname(&self, name: &str) -> Answer<String> {
        let found = self.records(name, RecordType::CNAME, |data| match data {
            RData::CNAME(cname) => Some(host(&cname.0)),
            _ => None,
        });
        found.await.map(|mut names: Vec<String>| names.swap_remove(0))
    }

    async fn records<T>(&self, name: &str, kind: RecordType, pick: impl Fn(&RData) -> Option<T>) -> Answer<Vec<T>> {
        match parse(name) {
            Some(name) => self.look_up(name, kind, pick).await,
            // No server can have such a name.
            None => Answer::NoName,
        }
    }

    async fn look_up<T>(&self, name: Name, kind: RecordType, pick: impl Fn(&RData) -> Option<T>) -> Answer<Vec<T>> {
        let inner = self.0.clone();
        let key = (name.to_lowercase(), kind);
        let answer = self
            .0
            .flights
            .join(key, move || async move { inner.ask(name, kind).await }.boxed())
            .await
            .map(|records| records.iter().filter_map(pick).collect::<Vec<T>>());
        match answer {
            // An alias whose end has no such record.
            Answer::Found(records) if records.is_empty() => Answer::NoRecords,
            answer => answer,
        }
    }
}

impl Inner {
    async fn ask(&self, name: Name, kind: RecordType) -> Records {
        match tokio::time::timeout(self.deadline, self.resolver.lookup(name, kind)).await {
            Ok(Ok(found)) => Answer::Found(Arc::new(found.answers().iter().map(|record| record.data.clone()).collect())),
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(none)))) => match none.response_code {
                ResponseCode::NoError => Answer::NoRecords,
                ResponseCode::NXDomain => Answer::NoName,
                code => Answer::Unknown(said(code)),
            },
            Ok(Err(NetError::Dns(DnsError::ResponseCode(code)))) => Answer::Unknown(said(code)),
            Ok(Err(NetError::Timeout)) | Err(_) => Answer::Unknown("no name server answered in time".to_owned()),
            Ok(Err(error)) => Answer::Unknown(error.to_string()),
        }
    }
}

fn said(code: ResponseCode) -> String {
    match code {
        ResponseCode::ServFail => "the name server says SERVFAIL".to_owned(),
        ResponseCode::Refused => "the name server says REFUSED".to_owned(),
        code => format!("the name server says {code}"),
    }
}

fn server(address: SocketAddr) -> NameServerConfig {
    let [mut udp, mut tcp] = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    (udp.port, tcp.port) = (address.port(), address.port());
    NameServerConfig::new(address.ip(), true, vec![udp, tcp])
}

/// A whole name, so that the system's search list stays out of it.
fn parse(name: &str) -> Option<Name> {
    let mut parsed = if name.is_ascii() { Name::from_ascii(name) } else { Name::from_utf8(name) }.ok()?;
    parsed.set_fqdn(true);
    Some(parsed)
}

/// As it is shown and compared: lower case, without the last dot; the root is empty.
fn host(name: &Name) -> String {
    name.to_lowercase().to_ascii().trim_end_matches('.').to_owned()
}
