//! The exact DNS records that the owner of a domain publishes.

use std::net::IpAddr;

use serde::Serialize;

use super::{dkim_key::DkimKey, sending_domain::SendingDomain, sources::Sources};
use crate::settings::Settings;

/// The label below which the ownership record stands.
const OWNERSHIP_LABEL: &str = "_mochila";

/// A record, to be copied as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = DnsRecord)]
pub struct Record {
    /// `TXT`, `MX`, `A` or `AAAA`.
    #[serde(rename = "type")]
    #[schema(example = "TXT")]
    pub kind: String,
    /// The whole name, without the last dot.
    #[schema(example = "_dmarc.example.com")]
    pub name: String,
    /// A TXT is one value here, however many strings of 255 octets a zone file splits it into.
    #[schema(example = "v=DMARC1; p=none")]
    pub value: String,
    /// What it is for.
    #[schema(example = "DMARC: what receivers do with mail that is not yours")]
    pub purpose: String,
}

impl Record {
    fn new(kind: &str, name: String, value: String, purpose: &str) -> Self {
        Self { kind: kind.to_owned(), name, value, purpose: purpose.to_owned() }
    }
}

/// Where the ownership record of a domain stands.
#[must_use]
pub fn ownership_name(domain: &str) -> String {
    format!("{OWNERSHIP_LABEL}.{domain}")
}

/// What it says.
#[must_use]
pub fn ownership_value(token: &str) -> String {
    format!("mochila-verification={token}")
}

/// Where bounces of all domains are taken in: a name, or an address where the settings know no name.
#[must_use]
pub fn inbound_host(settings: &Settings) -> String {
    let sending = &settings.sending;
    let named = [&sending.bounce_host, &sending.hello_name].into_iter().find(|name| !name.is_empty()).cloned();
    named
        .unwrap_or_else(|| settings.api.public_url.host_str().unwrap_or_default().to_owned())
        .trim_matches(['[', ']'])
        .to_lowercase()
}

/// The record that brings bounces here.
#[must_use]
pub fn return_path(domain: &SendingDomain, inbound_host: &str) -> Record {
    let purpose = "return path: bounces come back to addresses at this host";
    let name = domain.return_path_host.clone();
    match inbound_host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => Record::new("A", name, ip.to_string(), purpose),
        Ok(IpAddr::V6(ip)) => Record::new("AAAA", name, ip.to_string(), purpose),
        Err(_) => Record::new("MX", name, format!("10 {inbound_host}"), purpose),
    }
}

/// All of them, in the order in which they help. `keys` are those that are published.
#[must_use]
pub fn all(domain: &SendingDomain, keys: &[DkimKey], sources: &Sources, inbound_host: &str) -> Vec<Record> {
    let name = &domain.domain;
    let mut records = vec![Record::new(
        "TXT",
        ownership_name(name),
        ownership_value(&domain.ownership_token),
        "ownership: proves that the domain is yours",
    )];
    for key in keys {
        records.push(Record::new("TXT", key.record_name(name), key.record_value(), dkim_purpose(key)));
    }
    if !sources.is_empty() {
        let purpose = "SPF: which servers may send with a return path at this host";
        records.push(Record::new("TXT", domain.return_path_host.clone(), sources.record(), purpose));
    }
    records.push(return_path(domain, inbound_host));
    let purpose = "DMARC: what receivers do with mail that only claims to be yours; keep a stricter policy if you have one";
    records.push(Record::new("TXT", format!("_dmarc.{name}"), "v=DMARC1; p=none".to_owned(), purpose));
    records
}

fn dkim_purpose(key: &DkimKey) -> &'static str {
    match key.state.as_str() {
        "retiring" => "DKIM: verifies mail that is still on its way; goes when this list no longer has it",
        "pending" => "DKIM: the key that signs as soon as this record is seen",
        _ => "DKIM: the key that signs your mail",
    }
}
