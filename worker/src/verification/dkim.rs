//! Whether the record of each key is ours.

use shared::sending_domains::{
    check::{Check, Verdict},
    dkim_key::{Algorithm, DkimKey},
};

use super::Subject;
use crate::clients::dns::{Answer, Dns};

/// A check for each key, with the key where its record was seen.
pub(super) async fn check(dns: &Dns, subject: &Subject) -> Vec<(Check, Option<DkimKey>)> {
    futures::future::join_all(subject.keys.iter().map(|key| one(dns, subject, key))).await
}

async fn one(dns: &Dns, subject: &Subject, key: &DkimKey) -> (Check, Option<DkimKey>) {
    let name = format!("dkim {}", key.selector);
    let (at, expected) = (key.record_name(&subject.domain.domain), key.record_value());
    let missing = severity(subject, key);
    let texts = match dns.txt(&at).await {
        Answer::Found(texts) => texts,
        Answer::Unknown(why) => return (subject.unanswered(name, &why, expected), None),
        _ => return (Check::new(name, missing, "", expected, format!("publish the expected TXT record at {at}")), None),
    };
    let found = texts.join("\n");
    match texts.iter().map(|text| compare(text, key)).collect::<Vec<_>>().as_slice() {
        [Ok(())] => (Check::pass(name, found, expected), Some(key.clone())),
        [Err(wrong)] => (Check::new(name, missing, found, expected, format!("{wrong}: replace the record at {at}")), None),
        _ => {
            let advice = format!("leave one TXT record at {at}: receivers may take any of them (RFC 6376 section 3.6.2.2)");
            (Check::new(name, missing, found, expected, advice), None)
        }
    }
}

/// How bad it is that a record is not there. Mail must carry an RSA signature that verifies; the rest is better to have.
fn severity(subject: &Subject, key: &DkimKey) -> Verdict {
    let another_signs = subject.keys.iter().any(|other| other.algorithm == key.algorithm && other.state == "active");
    match (key.algorithm, key.state.as_str()) {
        (Algorithm::Rsa, "active") => Verdict::Fail,
        (Algorithm::Rsa, "pending") if !another_signs => Verdict::Fail,
        _ => Verdict::Warn,
    }
}

/// Whether this text is the record of our key (RFC 6376 section 3.6.1): the order of its tags and its spaces do not matter.
fn compare(text: &str, key: &DkimKey) -> Result<(), &'static str> {
    let tags: Vec<(String, String)> = text
        .split(';')
        .filter_map(|tag| tag.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.split_whitespace().collect()))
        .collect();
    let tag = |name: &str| tags.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    if tag("v").is_some_and(|version| version != "DKIM1") {
        return Err("its version is not DKIM1");
    }
    if tag("k").unwrap_or("rsa") != key.algorithm.key_type() {
        return Err("its key is of another type");
    }
    match tag("p") {
        Some("") => Err("its key is revoked"),
        Some(p) if p == key.public_key => Ok(()),
        Some(p) if key.public_key.starts_with(p) => Err("its key is cut off"),
        Some(_) => Err("its key is not the one that signs here"),
        None => Err("it has no key"),
    }?;
    if tag("h").is_some_and(|hashes| !hashes.split(':').any(|hash| hash == "sha256")) {
        return Err("it does not allow sha256");
    }
    if tag("s").is_some_and(|services| !services.split(':').any(|service| matches!(service, "*" | "email"))) {
        return Err("it does not allow e-mail");
    }
    if tag("t").is_some_and(|flags| flags.split(':').any(|flag| flag == "y")) {
        return Err("it says that the domain only tests DKIM");
    }
    Ok(())
}
