//! DMARC: the policy that holds for the domain, and whether what authenticates its mail aligns with it. Found by the tree walk of
//! RFC 9989 section 4.10.

use mail_auth::{
    common::parse::TxtRecordParser,
    dmarc::{Alignment, Dmarc, Policy, Psd},
};
use shared::sending_domains::check::{Check, Verdict};

use super::Subject;
use crate::clients::dns::{Answer, Dns};

/// Queries of one walk.
const MOST_QUERIES: usize = 8;

struct Step {
    domain: String,
    text: String,
    record: Dmarc,
}

/// What a walk from a domain to the root found.
struct Walk {
    /// From the domain upwards.
    steps: Vec<Step>,
    /// More than one record at the domain itself, which is none.
    doubled: bool,
}

impl Walk {
    /// The organizational domain: where `psd=n` stands, one label below `psd=y`, else the highest with a record, else the domain itself.
    fn organization(&self, start: &str) -> String {
        for step in &self.steps {
            match step.record.psd {
                Psd::No => return step.domain.clone(),
                Psd::Yes if step.domain != start => return below(start, &step.domain),
                _ => {}
            }
        }
        self.steps.last().map_or_else(|| start.to_owned(), |step| step.domain.clone())
    }

    /// The record that receivers take: the domain's own, or its organization's.
    fn policy(&self, start: &str) -> Option<&Step> {
        let organization = self.organization(start);
        let of = |domain: &str| self.steps.iter().find(|step| step.domain == domain);
        of(start).or_else(|| of(&organization))
    }
}

/// The ancestor of `domain` that has one label more than `parent`.
fn below(domain: &str, parent: &str) -> String {
    let labels = parent.split('.').count() + 1;
    let all: Vec<&str> = domain.split('.').collect();
    all[all.len().saturating_sub(labels)..].join(".")
}

/// The names that a walk asks for: all of them, or the domain and its last seven labels.
fn ancestors(domain: &str) -> Vec<String> {
    let labels: Vec<&str> = domain.split('.').collect();
    let longest = if labels.len() > MOST_QUERIES { MOST_QUERIES - 1 } else { labels.len() - 1 };
    let mut names = vec![domain.to_owned()];
    names.extend((1..=longest).rev().map(|count| labels[labels.len() - count..].join(".")));
    names
}

async fn walk(dns: &Dns, domain: &str) -> Result<Walk, String> {
    let mut walk = Walk { steps: Vec::new(), doubled: false };
    for name in ancestors(domain) {
        let texts = match dns.txt(&format!("_dmarc.{name}")).await {
            Answer::Found(texts) => texts,
            Answer::Unknown(why) => return Err(why),
            _ => continue,
        };
        let mut records: Vec<(String, Dmarc)> =
            texts.into_iter().filter_map(|text| Dmarc::parse(text.as_bytes()).ok().map(|record| (text, record))).collect();
        if records.len() > 1 {
            walk.doubled |= name == domain;
            continue;
        }
        if let Some((text, record)) = records.pop() {
            let last = matches!(record.psd, Psd::Yes | Psd::No);
            walk.steps.push(Step { domain: name, text, record });
            if last {
                break;
            }
        }
    }
    Ok(walk)
}

/// Two checks: the policy, and the alignment.
pub(super) async fn check(dns: &Dns, subject: &Subject) -> Vec<Check> {
    let (domain, host) = (subject.domain.domain.as_str(), subject.domain.return_path_host.as_str());
    let (from, path) = tokio::join!(walk(dns, domain), walk(dns, host));
    let expected = "v=DMARC1; p=none";
    let from = match from {
        Ok(from) => from,
        Err(why) => return vec![subject.unanswered("dmarc", &why, expected), subject.unanswered("alignment", &why, "")],
    };
    let policy = policy(&from, domain, expected);
    let alignment = match path {
        Ok(path) => alignment(&from, &path, domain, host),
        Err(why) => subject.unanswered("alignment", &why, ""),
    };
    vec![policy, alignment]
}

fn policy(walk: &Walk, domain: &str, expected: &str) -> Check {
    let at = format!("_dmarc.{domain}");
    if walk.doubled {
        return Check::new("dmarc", Verdict::Fail, "", expected, format!("leave one DMARC record at {at}: of several none counts"));
    }
    let Some(step) = walk.policy(domain) else {
        return Check::new("dmarc", Verdict::Fail, "", expected, format!("publish the expected TXT record at {at}"));
    };
    let found = format!("{} (at _dmarc.{})", step.text, step.domain);
    let holds = if step.domain == domain { step.record.p } else { step.record.sp };
    if holds == Policy::Unspecified {
        return Check::new(
            "dmarc",
            Verdict::Warn,
            found,
            expected,
            format!("say p=none, quarantine or reject at _dmarc.{}", step.domain),
        );
    }
    Check::pass("dmarc", found, expected)
}

/// From, the return path (SPF) and the signature (DKIM, whose domain is From's own).
fn alignment(from: &Walk, path: &Walk, domain: &str, host: &str) -> Check {
    let (organization, of_path) = (from.organization(domain), path.organization(host));
    let strict = from.policy(domain).is_some_and(|step| step.record.aspf == Alignment::Strict);
    let found = format!("From {domain}, return path {host}, DKIM d={domain}; organization {organization}");
    let expected = format!("return path and DKIM of {organization}");
    if strict && host != domain {
        let advice = "aspf=s: SPF does not align below the domain, DKIM alone carries DMARC; say aspf=r for both";
        return Check::new("alignment", Verdict::Warn, found, expected, advice);
    }
    if organization != of_path {
        let advice =
            format!("the DMARC record of {of_path} makes it another organization: SPF does not align, DKIM alone carries DMARC");
        return Check::new("alignment", Verdict::Warn, found, expected, advice);
    }
    Check::pass("alignment", found, expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(records: &[(&str, &str)]) -> Walk {
        let step = |(domain, text): &(&str, &str)| Step {
            domain: (*domain).to_owned(),
            text: (*text).to_owned(),
            record: Dmarc::parse(text.as_bytes()).expect("a record"),
        };
        Walk { steps: records.iter().map(step).collect(), doubled: false }
    }

    #[test]
    fn a_walk_asks_at_most_eight_names() {
        assert_eq!(ancestors("a.b.test"), ["a.b.test", "b.test", "test"]);
        let deep = ancestors("1.2.3.4.5.6.7.8.9.test");
        assert_eq!(deep.len(), 8);
        assert_eq!((deep[1].as_str(), deep[7].as_str()), ("4.5.6.7.8.9.test", "test"));
    }

    #[test]
    fn the_organization_is_where_the_records_say() {
        let plain = found(&[("a.b.test", "v=DMARC1; p=none"), ("b.test", "v=DMARC1; p=reject")]);
        assert_eq!(plain.organization("a.b.test"), "b.test");
        let own = found(&[("a.b.test", "v=DMARC1; p=none; psd=n")]);
        assert_eq!(own.organization("a.b.test"), "a.b.test");
        let suffix = found(&[("test", "v=DMARC1; p=reject; psd=y")]);
        assert_eq!(suffix.organization("a.b.test"), "b.test");
        assert_eq!(found(&[]).organization("a.b.test"), "a.b.test");
    }

    #[test]
    fn a_strict_return_path_or_another_organization_leaves_dkim_alone() {
        let same =
            alignment(&found(&[("b.test", "v=DMARC1; p=none")]), &found(&[("b.test", "v=DMARC1; p=none")]), "b.test", "x.b.test");
        assert_eq!(same.verdict, Verdict::Pass);
        let strict = found(&[("b.test", "v=DMARC1; p=none; aspf=s")]);
        assert_eq!(alignment(&strict, &strict, "b.test", "x.b.test").verdict, Verdict::Warn);
        let other = found(&[("x.b.test", "v=DMARC1; p=none; psd=n")]);
        assert_eq!(alignment(&found(&[("b.test", "v=DMARC1; p=none")]), &other, "b.test", "x.b.test").verdict, Verdict::Warn);
    }
}
