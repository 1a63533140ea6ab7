//! What the DNS of a sending domain says, held against what it should say.
//!
//! [`all`] asks everything at once. A file a subject: [`ownership`], [`spf`] (with the evaluation of RFC 7208 in [`spf_host`]), [`dkim`],
//! [`dmarc`] (with the tree walk of RFC 9989), [`hosts`] (where mail and bounces go, and who sends), [`transport`] (MTA-STS, TLS-RPT).

pub mod dkim;
pub mod dmarc;
pub mod hosts;
pub mod ownership;
pub mod spf;
pub mod spf_host;
pub mod transport;

use shared::sending_domains::{check::Check, dkim_key::DkimKey, sending_domain::SendingDomain, sources::Sources};

use crate::clients::dns::Dns;

/// What is looked at.
pub struct Subject {
    /// The domain, with the checks of before.
    pub domain: SendingDomain,
    /// Its keys that are to be published.
    pub keys: Vec<DkimKey>,
    /// Who sends for it.
    pub sources: Sources,
    /// Where its bounces are taken in.
    pub inbound_host: String,
}

impl Subject {
    /// A check that no name server answered.
    fn unanswered(&self, name: impl Into<String>, why: &str, expected: impl Into<String>) -> Check {
        Check::unanswered(name, why, expected, &self.domain.checks)
    }
}

/// What was found.
pub struct Found {
    /// Every check, in the order in which a person mends them.
    pub checks: Vec<Check>,
    /// Keys whose records stand in DNS.
    pub seen: Vec<DkimKey>,
}

/// Asks for everything.
pub async fn all(dns: &Dns, subject: &Subject) -> Found {
    let (ownership, spf, keys, dmarc, hosts, transport) = tokio::join!(
        ownership::check(dns, subject),
        spf::check(dns, subject),
        dkim::check(dns, subject),
        dmarc::check(dns, subject),
        hosts::check(dns, subject),
        transport::check(dns, subject),
    );
    let mut found = Found { checks: vec![ownership], seen: Vec::new() };
    for (check, seen) in keys {
        found.checks.push(check);
        found.seen.extend(seen);
    }
    found.checks.push(spf);
    found.checks.extend(dmarc);
    found.checks.extend(hosts);
    found.checks.extend(transport);
    found
}
