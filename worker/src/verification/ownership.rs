//! Whether whoever claimed the domain can write its DNS.

use shared::sending_domains::{
    check::{Check, Verdict},
    records,
};

use super::Subject;
use crate::clients::dns::{Answer, Dns};

const NAME: &str = "ownership";

pub(super) async fn check(dns: &Dns, subject: &Subject) -> Check {
    let name = records::ownership_name(&subject.domain.domain);
    let expected = records::ownership_value(&subject.domain.ownership_token);
    match dns.txt(&name).await {
        Answer::Found(texts) if texts.iter().any(|text| text.trim() == expected) => Check::pass(NAME, expected.clone(), expected),
        Answer::Found(texts) => {
            Check::new(NAME, Verdict::Fail, texts.join("\n"), expected, format!("add the expected TXT record at {name}"))
        }
        Answer::Unknown(why) => subject.unanswered(NAME, &why, expected),
        _ => Check::new(NAME, Verdict::Fail, "", expected, format!("publish the expected TXT record at {name}")),
    }
}
