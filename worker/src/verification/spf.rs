//! Whether the return path's SPF record lets everybody send who sends.

use std::net::IpAddr;

use shared::sending_domains::check::{Check, Verdict};

use super::{
    Subject,
    spf_host::{Evaluation, Outcome, is_spf},
};
use crate::clients::dns::{Answer, Dns};

const NAME: &str = "spf";
/// An address that sends for nobody (RFC 5737): what is found for it shows whether a record can be evaluated to its end.
const NOBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 255));

pub(super) async fn check(dns: &Dns, subject: &Subject) -> Check {
    let host = &subject.domain.return_path_host;
    let expected = subject.sources.record();
    if subject.sources.is_empty() {
        let advice = "nothing is known of who sends: an admin makes a route, or sets sending.spf_ips or sending.spf_include";
        return Check::new(NAME, Verdict::Warn, "", "", advice);
    }
    let record = match dns.txt(host).await {
        Answer::Found(texts) => texts.into_iter().filter(|text| is_spf(text)).collect::<Vec<_>>().join("\n"),
        Answer::Unknown(why) => return subject.unanswered(NAME, &why, expected),
        _ => String::new(),
    };
    if record.is_empty() {
        return Check::new(NAME, Verdict::Fail, "", expected, format!("publish the expected TXT record at {host}"));
    }
    let failed = |advice: String| Check::new(NAME, Verdict::Fail, record.clone(), expected.clone(), advice);
    for name in &subject.sources.includes {
        if !names(&record, name) {
            return failed(format!("add include:{name} to the record at {host}"));
        }
    }
    let ips = match addresses(dns, subject).await {
        Ok(ips) => ips,
        Err(why) => return subject.unanswered(NAME, &why, expected),
    };
    for ip in ips.iter().copied().chain([NOBODY]) {
        match Evaluation::new(dns, ip, &subject.inbound_host).of(host).await {
            Outcome::PermError(why) => return failed(format!("{why}: no receiver can evaluate it")),
            Outcome::TempError(why) => return subject.unanswered(NAME, &why, expected),
            Outcome::Pass => {}
            _ if ip == NOBODY => {}
            _ => return failed(format!("the record at {host} does not let {ip} send: add it")),
        }
    }
    Check::pass(NAME, record, expected)
}

/// Whether a record includes this name.
fn names(record: &str, name: &str) -> bool {
    let terms = record.split_whitespace().map(|term| term.trim_start_matches(['+', '?', '~', '-']).to_lowercase());
    terms.into_iter().any(|term| term.strip_prefix("include:").is_some_and(|target| target.trim_end_matches('.') == name))
}

/// The addresses that send, as far as they are known by themselves.
pub(super) async fn addresses(dns: &Dns, subject: &Subject) -> Result<Vec<IpAddr>, String> {
    let mut ips = subject.sources.ips.clone();
    for host in &subject.sources.hosts {
        match dns.a(host).await {
            Answer::Found(found) => ips.extend(found.into_iter().map(IpAddr::V4)),
            Answer::Unknown(why) => return Err(why),
            _ => {}
        }
        match dns.aaaa(host).await {
            Answer::Found(found) => ips.extend(found.into_iter().map(IpAddr::V6)),
            Answer::Unknown(why) => return Err(why),
            _ => {}
        }
    }
    Ok(ips)
}
