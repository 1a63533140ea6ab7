//! What the server knows.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use anyhow::{Context, bail};
use async_trait::async_trait;
use hickory_proto::rr::{
    Name, RData, RecordType,
    rdata::{A, AAAA, CNAME, MX, PTR, TXT},
};
use parking_lot::Mutex;
use tokio::sync::watch;

/// Types of records that it can have.
pub type Kind = RecordType;

/// How a name answers, whatever its records.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// SERVFAIL.
    Fail,
    /// NXDOMAIN, though there may be records.
    Deny,
    /// Not at all.
    Silent,
    /// As usual, once the value is true.
    Held(watch::Receiver<bool>),
}

/// Hears of each question before it is answered.
#[async_trait]
pub trait Listener: Send + Sync {
    /// The name is asked for, lower case; whatever is added to the zones now is in the answer.
    async fn asked(&self, name: &str, zones: &Zones);
}

/// Records by name and type, in lower case; changed while the server runs.
#[derive(Default)]
pub struct Zones {
    records: Mutex<BTreeMap<Name, HashMap<RecordType, Vec<RData>>>>,
    behaviours: Mutex<HashMap<Name, Behaviour>>,
    asked: Mutex<HashMap<(Name, RecordType), u64>>,
}

/// What it says about a name.
pub(super) enum Said {
    Records(Vec<(Name, RData)>),
    NoRecords,
    NoName,
}

impl Zones {
    /// Adds a record. `value` is written as a zone file would have it, a TXT without quotes.
    ///
    /// # Errors
    /// A name, type or value that it cannot have.
    pub fn add(&self, name: &str, kind: &str, value: &str) -> anyhow::Result<()> {
        let data = data(kind, value).with_context(|| format!("{kind} {value:?} of {name}"))?;
        let name = parse(name)?;
        let mut records = self.records.lock();
        let of_kind = records.entry(name).or_default().entry(data.record_type()).or_default();
        if !of_kind.contains(&data) {
            of_kind.push(data);
        }
        Ok(())
    }

    /// Puts this record in the place of all of its type.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn set(&self, name: &str, kind: &str, value: &str) -> anyhow::Result<()> {
        self.remove(name, kind)?;
        self.add(name, kind, value)
    }

    /// Takes all records of this type away.
    ///
    /// # Errors
    /// A name or type that it cannot have.
    pub fn remove(&self, name: &str, kind: &str) -> anyhow::Result<()> {
        let (name, kind) = (parse(name)?, kind.parse::<RecordType>()?);
        let mut records = self.records.lock();
        if let Some(of_name) = records.get_mut(&name) {
            of_name.remove(&kind);
            if of_name.is_empty() {
                records.remove(&name);
            }
        }
        Ok(())
    }

    /// The name misbehaves from now on; `None`: no longer.
    ///
    /// # Errors
    /// A name that it cannot have.
    pub fn behave(&self, name: &str, behaviour: Option<Behaviour>) -> anyhow::Result<()> {
        let name = parse(name)?;
        let mut behaviours = self.behaviours.lock();
        match behaviour {
            Some(behaviour) => behaviours.insert(name, behaviour),
            None => behaviours.remove(&name),
        };
        Ok(())
    }

    /// How often this question came in.
    ///
    /// # Errors
    /// A name or type that it cannot have.
    pub fn asked(&self, name: &str, kind: &str) -> anyhow::Result<u64> {
        Ok(self.asked.lock().get(&(parse(name)?, kind.parse()?)).copied().unwrap_or_default())
    }

    pub(super) fn count(&self, name: &Name, kind: RecordType) {
        *self.asked.lock().entry((name.clone(), kind)).or_default() += 1;
    }

    pub(super) fn behaviour(&self, name: &Name) -> Option<Behaviour> {
        self.behaviours.lock().get(name).cloned()
    }

    /// The answer of its records; aliases are followed.
    pub(super) fn find(&self, name: &Name, kind: RecordType) -> Said {
        let records = self.records.lock();
        let mut name = name.clone();
        let mut found = Vec::new();
        for _ in 0..8 {
            let of_name = records.get(&name);
            if let Some(of_kind) = of_name.and_then(|of_name| of_name.get(&kind)) {
                found.extend(of_kind.iter().map(|data| (name.clone(), data.clone())));
                break;
            }
            let alias = of_name.and_then(|of_name| of_name.get(&RecordType::CNAME)).and_then(|aliases| aliases.first());
            let Some(RData::CNAME(target)) = alias else { break };
            found.push((name.clone(), RData::CNAME(target.clone())));
            name = target.0.to_lowercase();
        }
        if !found.is_empty() {
            return Said::Records(found);
        }
        // A name without records exists if one below it has some (RFC 8020).
        if records.keys().any(|other| name.zone_of(other)) { Said::NoRecords } else { Said::NoName }
    }
}

/// A whole name in lower case.
fn parse(name: &str) -> anyhow::Result<Name> {
    let mut name = Name::from_ascii(name).with_context(|| format!("{name:?} is no name"))?;
    name.set_fqdn(true);
    Ok(name.to_lowercase())
}

fn data(kind: &str, value: &str) -> anyhow::Result<RData> {
    Ok(match kind.to_ascii_uppercase().as_str() {
        // A string of a TXT record holds 255 octets (RFC 1035 section 3.3).
        "TXT" => RData::TXT(TXT::from_bytes(value.as_bytes().chunks(255).collect())),
        "A" => RData::A(A(value.parse()?)),
        "AAAA" => RData::AAAA(AAAA(value.parse()?)),
        "CNAME" => RData::CNAME(CNAME(parse(value)?)),
        "PTR" => RData::PTR(PTR(parse(value)?)),
        "MX" => {
            let (preference, host) = value.split_once(' ').context("an MX is a preference and a host")?;
            RData::MX(MX::new(preference.parse()?, parse(host.trim())?))
        }
        _ => bail!("there are no {kind} records here"),
    })
}

impl Zones {
    /// Names of an address; `name` is what it is called.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_ptr(&self, ip: IpAddr, name: &str) -> anyhow::Result<()> {
        self.add(&Name::from(ip).to_ascii(), "PTR", name)
    }
}
