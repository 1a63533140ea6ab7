//! Whether the domain asks others to encrypt what they send to it, and to report where they could not. Noted: its own mail goes out without.

use shared::sending_domains::check::{Check, Verdict};

use super::Subject;
use crate::clients::dns::{Answer, Dns};

/// Two checks: MTA-STS (RFC 8461), TLS-RPT (RFC 8460).
pub(super) async fn check(dns: &Dns, subject: &Subject) -> [Check; 2] {
    let (policy, reports) = tokio::join!(
        noted(dns, subject, "mta_sts", "_mta-sts", "v=STSv1; id=20260101"),
        noted(dns, subject, "tls_rpt", "_smtp._tls", "v=TLSRPTv1; rua=mailto:tls-reports@"),
    );
    [policy, reports]
}

async fn noted(dns: &Dns, subject: &Subject, name: &str, label: &str, sample: &str) -> Check {
    let domain = &subject.domain.domain;
    let at = format!("{label}.{domain}");
    let expected = if sample.ends_with('@') { format!("{sample}{domain}") } else { sample.to_owned() };
    let version = sample.split(';').next().unwrap_or_default();
    match dns.txt(&at).await {
        Answer::Found(texts) if texts.iter().any(|text| text.starts_with(version)) => Check::pass(name, texts.join("\n"), expected),
        Answer::Found(texts) => {
            Check::new(name, Verdict::Warn, texts.join("\n"), expected, format!("the record at {at} is malformed"))
        }
        Answer::Unknown(why) => subject.unanswered(name, &why, expected),
        _ => Check::new(name, Verdict::Warn, "", expected, format!("optional: a TXT record at {at}, for mail that comes in")),
    }
}
