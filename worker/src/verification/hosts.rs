//! Where answers and bounces go, and what the addresses that send are called.

use std::net::IpAddr;

use shared::sending_domains::{
    check::{Check, Verdict},
    records,
};

use super::{Subject, spf};
use crate::clients::dns::{Answer, Dns, MailExchanges};

/// Addresses whose names are looked at.
const MOST_ADDRESSES: usize = 8;

/// Three checks: the domain's own MX, the return path, the names of the addresses.
pub(super) async fn check(dns: &Dns, subject: &Subject) -> [Check; 3] {
    let (mx, return_path, names) = tokio::join!(mx(dns, subject), return_path(dns, subject), names(dns, subject));
    [mx, return_path, names]
}

fn shown(exchanges: &MailExchanges) -> String {
    match exchanges {
        MailExchanges::Null => "0 .".to_owned(),
        MailExchanges::Hosts(hosts) => {
            hosts.iter().map(|exchange| format!("{} {}", exchange.preference, exchange.host)).collect::<Vec<_>>().join("\n")
        }
    }
}

/// Whether the domain takes the answers to its mail. Mail goes out without it.
async fn mx(dns: &Dns, subject: &Subject) -> Check {
    let domain = &subject.domain.domain;
    let warn = |found: &str, advice: String| Check::new("mx", Verdict::Warn, found, "an MX record", advice);
    match dns.mx(domain).await {
        Answer::Found(hosts @ MailExchanges::Hosts(_)) => Check::pass("mx", shown(&hosts), "an MX record"),
        Answer::Found(MailExchanges::Null) => warn(
            "0 .",
            format!("{domain} says that it takes no mail (RFC 7505): answers are lost, and some receivers refuse its mail"),
        ),
        Answer::Unknown(why) => subject.unanswered("mx", &why, "an MX record"),
        _ => warn("", format!("publish an MX record for {domain}, so that answers arrive")),
    }
}

/// Whether bounces come back to us. A return path that does not exist, or takes no mail, makes receivers refuse the mail itself.
async fn return_path(dns: &Dns, subject: &Subject) -> Check {
    const NAME: &str = "return_path";
    let record = records::return_path(&subject.domain, &subject.inbound_host);
    let (host, expected) = (&record.name, format!("{} {}", record.kind, record.value));
    let publish = format!("publish the expected record at {host}");
    let elsewhere = |found: String| {
        let advice = format!("bounces go elsewhere: {publish}, or have them handed on");
        Check::new(NAME, Verdict::Warn, found, expected.clone(), advice)
    };
    match dns.mx(host).await {
        Answer::Found(MailExchanges::Null) => return Check::new(NAME, Verdict::Fail, "MX 0 .", expected, publish),
        Answer::Found(hosts) => {
            let found = shown(&hosts);
            let ours =
                matches!(&hosts, MailExchanges::Hosts(hosts) if hosts.iter().any(|exchange| exchange.host == subject.inbound_host));
            return if ours { Check::pass(NAME, found, expected) } else { elsewhere(found) };
        }
        Answer::Unknown(why) => return subject.unanswered(NAME, &why, expected),
        _ => {}
    }
    let (four, six) = tokio::join!(dns.a(host), dns.aaaa(host));
    let mut found: Vec<IpAddr> = Vec::new();
    for answer in [
        four.map(|ips| ips.into_iter().map(IpAddr::V4).collect::<Vec<_>>()),
        six.map(|ips| ips.into_iter().map(IpAddr::V6).collect()),
    ] {
        match answer {
            Answer::Found(ips) => found.extend(ips),
            Answer::Unknown(why) => return subject.unanswered(NAME, &why, expected),
            _ => {}
        }
    }
    let shown = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    match found.as_slice() {
        [] => Check::new(NAME, Verdict::Fail, "", expected, publish),
        _ if found.iter().any(|ip| ip.to_string() == subject.inbound_host) => Check::pass(NAME, shown, expected),
        _ => elsewhere(shown),
    }
}

/// Whether each address that sends has a name that leads back to it. Receivers ask for it; it is not the domain's affair.
async fn names(dns: &Dns, subject: &Subject) -> Check {
    const NAME: &str = "ptr";
    let expected = "a name for each address, which has that address";
    let ips = match spf::addresses(dns, subject).await {
        Ok(ips) => ips,
        Err(why) => return subject.unanswered(NAME, &why, expected),
    };
    let mut found = Vec::new();
    let mut lacking = Vec::new();
    for ip in ips.into_iter().take(MOST_ADDRESSES) {
        let names = match dns.ptr(ip).await {
            Answer::Found(names) => names,
            Answer::Unknown(why) => return subject.unanswered(NAME, &why, expected),
            _ => Vec::new(),
        };
        let mut confirmed = false;
        for name in &names {
            confirmed |= match ip {
                IpAddr::V4(ip) => dns.a(name).await.found().is_some_and(|ips| ips.contains(&ip)),
                IpAddr::V6(ip) => dns.aaaa(name).await.found().is_some_and(|ips| ips.contains(&ip)),
            };
        }
        found.push(format!("{ip} {}", names.join(" ")).trim_end().to_owned());
        if !confirmed {
            lacking.push(ip.to_string());
        }
    }
    let found = found.join("\n");
    if lacking.is_empty() {
        return Check::pass(NAME, found, expected);
    }
    let advice = format!("whoever runs {} gives it a name that leads back to it: large receivers ask for that", lacking.join(", "));
    Check::new(NAME, Verdict::Warn, found, expected, advice)
}
