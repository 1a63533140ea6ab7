//! `check_host` of RFC 7208, for one address: what a receiver would find.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    pin::Pin,
};

use mail_auth::{
    common::parse::TxtRecordParser,
    spf::{Directive, Macro, Mechanism, Qualifier, Spf, Variables},
};

use crate::clients::dns::{Answer, Dns, MailExchanges};

/// Terms that cost look-ups (section 4.6.4).
const MOST_LOOKUPS: usize = 10;
/// Look-ups that may find nothing.
const MOST_VOID: usize = 2;
/// Hosts of one `mx`, names of one `ptr`.
const MOST_HOSTS: usize = 10;

/// What `check_host` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The address may send.
    Pass,
    /// It must not.
    Fail,
    /// It probably must not.
    SoftFail,
    /// Nothing is said about it.
    Neutral,
    /// There is no record.
    None,
    /// The record cannot be evaluated; says why.
    PermError(String),
    /// No name server answered; says why.
    TempError(String),
}

/// An evaluation with what it has used up.
pub struct Evaluation<'a> {
    dns: &'a Dns,
    ip: IpAddr,
    sender: String,
    hello: &'a str,
    lookups: usize,
    void: usize,
}

type Step<T> = Result<T, Outcome>;

impl<'a> Evaluation<'a> {
    /// Of mail from this address of ours, which says `hello`.
    #[must_use]
    pub fn new(dns: &'a Dns, ip: IpAddr, hello: &'a str) -> Self {
        Self { dns, ip, sender: String::new(), hello, lookups: 0, void: 0 }
    }

    /// Evaluates the record of a domain.
    pub async fn of(mut self, domain: &str) -> Outcome {
        self.sender = format!("postmaster@{domain}");
        self.check_host(domain.to_owned()).await
    }

    /// How many look-ups of the ten it takes is known after this.
    fn check_host<'s>(&'s mut self, domain: String) -> Pin<Box<dyn Future<Output = Outcome> + Send + 's>> {
        Box::pin(async move { self.evaluate(&domain).await.unwrap_or_else(|outcome| outcome) })
    }

    async fn evaluate(&mut self, domain: &str) -> Step<Outcome> {
        let record = self.record(domain).await?;
        for directive in &record.directives {
            if self.matches(domain, directive).await? {
                return Ok(match directive.qualifier {
                    Qualifier::Pass => Outcome::Pass,
                    Qualifier::Fail => Outcome::Fail,
                    Qualifier::SoftFail => Outcome::SoftFail,
                    Qualifier::Neutral => Outcome::Neutral,
                });
            }
        }
        let Some(redirect) = &record.redirect else { return Ok(Outcome::Neutral) };
        self.spend(domain)?;
        let target = self.expand(redirect, domain);
        match self.check_host(target.clone()).await {
            Outcome::None => Err(Outcome::PermError(format!("{domain} redirects to {target}, which has no SPF record"))),
            outcome => Ok(outcome),
        }
    }

    /// The one SPF record of a domain (section 4.5).
    async fn record(&self, domain: &str) -> Step<Spf> {
        let texts = match self.dns.txt(domain).await {
            Answer::Found(texts) => texts,
            Answer::Unknown(why) => return Err(Outcome::TempError(why)),
            _ => return Err(Outcome::None),
        };
        let records: Vec<&String> = texts.iter().filter(|text| is_spf(text)).collect();
        match records.as_slice() {
            [] => Err(Outcome::None),
            [record] if is_well_formed(record) => Spf::parse(record.as_bytes()).map_err(|_| malformed(domain, record)),
            [record] => Err(malformed(domain, record)),
            _ => Err(Outcome::PermError(format!("{domain} has {} SPF records, and must have one", records.len()))),
        }
    }

    async fn matches(&mut self, domain: &str, directive: &Directive) -> Step<bool> {
        match &directive.mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip4 { addr, mask } => Ok(same_network(self.ip, IpAddr::V4(*addr), *mask, 0)),
            Mechanism::Ip6 { addr, mask } => Ok(same_network(self.ip, IpAddr::V6(*addr), 0, *mask)),
            Mechanism::A { macro_string, ip4_mask, ip6_mask } => {
                self.spend(domain)?;
                let host = self.expand(macro_string, domain);
                self.host_matches(&host, *ip4_mask, *ip6_mask).await
            }
            Mechanism::Mx { macro_string, ip4_mask, ip6_mask } => {
                self.spend(domain)?;
                let target = self.expand(macro_string, domain);
                let answer = self.dns.mx(&target).await;
                let Some(MailExchanges::Hosts(hosts)) = self.found(answer)? else { return Ok(false) };
                if hosts.len() > MOST_HOSTS {
                    return Err(Outcome::PermError(format!("mx of {target} names more than {MOST_HOSTS} hosts")));
                }
                for exchange in hosts {
                    if self.host_matches(&exchange.host, *ip4_mask, *ip6_mask).await? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Mechanism::Exists { macro_string } => {
                self.spend(domain)?;
                let host = self.expand(macro_string, domain);
                let answer = self.dns.a(&host).await;
                Ok(self.found(answer)?.is_some())
            }
            Mechanism::Include { macro_string } => {
                self.spend(domain)?;
                let target = self.expand(macro_string, domain);
                match self.check_host(target.clone()).await {
                    Outcome::Pass => Ok(true),
                    Outcome::Fail | Outcome::SoftFail | Outcome::Neutral => Ok(false),
                    Outcome::None => Err(Outcome::PermError(format!("{domain} includes {target}, which has no SPF record"))),
                    error => Err(error),
                }
            }
            Mechanism::Ptr { macro_string } => {
                self.spend(domain)?;
                let target = self.expand(macro_string, domain);
                self.named_below(&target).await
            }
        }
    }

    /// Whether a confirmed name of the address is the target or below it (section 5.5). Errors count as no match there.
    async fn named_below(&mut self, target: &str) -> Step<bool> {
        let names = self.dns.ptr(self.ip).await.found().unwrap_or_default();
        for name in names.into_iter().take(MOST_HOSTS) {
            let below = name == target || name.strip_suffix(target).is_some_and(|rest| rest.ends_with('.'));
            if below && self.host_matches(&name, u32::MAX, u128::MAX).await.unwrap_or(false) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn host_matches(&mut self, host: &str, mask4: u32, mask6: u128) -> Step<bool> {
        let addresses = match self.ip {
            IpAddr::V4(_) => {
                let answer = self.dns.a(host).await;
                self.found(answer)?.unwrap_or_default().into_iter().map(IpAddr::V4).collect::<Vec<_>>()
            }
            IpAddr::V6(_) => {
                let answer = self.dns.aaaa(host).await;
                self.found(answer)?.unwrap_or_default().into_iter().map(IpAddr::V6).collect()
            }
        };
        Ok(addresses.into_iter().any(|address| same_network(self.ip, address, mask4, mask6)))
    }

    /// What was found; nothing is counted.
    fn found<T>(&mut self, answer: Answer<T>) -> Step<Option<T>> {
        match answer {
            Answer::Found(found) => Ok(Some(found)),
            Answer::Unknown(why) => Err(Outcome::TempError(why)),
            _ => {
                self.void += 1;
                if self.void > MOST_VOID {
                    return Err(Outcome::PermError(format!("more than {MOST_VOID} of its look-ups find nothing")));
                }
                Ok(None)
            }
        }
    }

    fn spend(&mut self, domain: &str) -> Step<()> {
        self.lookups += 1;
        if self.lookups > MOST_LOOKUPS {
            return Err(Outcome::PermError(format!("it takes more than {MOST_LOOKUPS} look-ups (at {domain})")));
        }
        Ok(())
    }

    fn expand(&self, template: &Macro, domain: &str) -> String {
        let mut variables = Variables::new();
        variables.set_ip(&self.ip);
        variables.set_sender(self.sender.as_bytes());
        variables.set_domain(domain.as_bytes());
        variables.set_helo_domain(self.hello.as_bytes());
        variables.set_host_domain(self.hello.as_bytes());
        template.eval(&variables, domain, false).trim_end_matches('.').to_lowercase()
    }
}

fn malformed(domain: &str, record: &str) -> Outcome {
    Outcome::PermError(format!("the SPF record of {domain} is malformed: {record}"))
}

/// Whether every term is a mechanism with what it needs, or a modifier (section 4.6.1). The parser leaves out what it cannot read, where a
/// receiver would refuse the whole.
fn is_well_formed(record: &str) -> bool {
    record.split_ascii_whitespace().skip(1).all(|term| {
        let modifier = term.split_once('=').filter(|(name, _)| !name.contains([':', '/']));
        if let Some((name, value)) = modifier {
            return name.starts_with(|c: char| c.is_ascii_alphabetic())
                && !(name.eq_ignore_ascii_case("redirect") && value.is_empty());
        }
        let term = term.strip_prefix(['+', '-', '~', '?']).unwrap_or(term);
        let (name, value) = term.split_once(':').map_or((term, None), |(name, value)| (name, Some(value)));
        match (name.split('/').next().unwrap_or_default().to_ascii_lowercase().as_str(), value) {
            ("all", None) => name.len() == 3,
            ("include" | "exists", Some(value)) => !value.is_empty(),
            ("a" | "mx" | "ptr", value) => value != Some(""),
            ("ip4", Some(value)) => is_network(value, |ip| ip.is_ipv4()),
            ("ip6", Some(value)) => is_network(value, |ip| ip.is_ipv6()),
            _ => false,
        }
    })
}

fn is_network(value: &str, family: impl Fn(&IpAddr) -> bool) -> bool {
    let (address, length) = value.split_once('/').map_or((value, None), |(address, length)| (address, Some(length)));
    let Ok(ip) = address.parse::<IpAddr>() else { return false };
    let most = if ip.is_ipv4() { 32 } else { 128 };
    family(&ip) && length.is_none_or(|length| length.parse::<u8>().is_ok_and(|length| length <= most))
}

/// A record begins with the version, alone (section 4.5).
pub(super) fn is_spf(text: &str) -> bool {
    let version = text.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("v=spf1"));
    version && matches!(text.as_bytes().get(6), None | Some(b' '))
}

fn same_network(ip: IpAddr, other: IpAddr, mask4: u32, mask6: u128) -> bool {
    match (ip, other) {
        (IpAddr::V4(ip), IpAddr::V4(other)) => bits4(ip) & mask4 == bits4(other) & mask4,
        (IpAddr::V6(ip), IpAddr::V6(other)) => bits6(ip) & mask6 == bits6(other) & mask6,
        _ => false,
    }
}

fn bits4(ip: Ipv4Addr) -> u32 {
    u32::from(ip)
}

fn bits6(ip: Ipv6Addr) -> u128 {
    u128::from(ip)
}
