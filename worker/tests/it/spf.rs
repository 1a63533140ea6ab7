//! SPF as receivers evaluate it (RFC 7208), over a real name server.

use mochila_bench::dns::{Behaviour, Server};
use mochila_worker::{
    clients::dns::Dns,
    verification::spf_host::{Evaluation, Outcome},
};
use shared::settings::Settings;

struct Place {
    server: Server,
    dns: Dns,
}

impl Place {
    async fn new(records: &[(&str, &str, &str)]) -> Self {
        let server = Server::start().await.expect("a name server");
        for (name, kind, value) in records {
            server.zones.add(name, kind, value).expect("a record");
        }
        let mut settings = Settings::sample().dns;
        settings.servers = server.address.to_string();
        Self { dns: Dns::from_settings(&settings).expect("a client"), server }
    }

    async fn check(&self, ip: &str, domain: &str) -> Outcome {
        Evaluation::new(&self.dns, ip.parse().expect("an address"), "mail.us.test").of(domain).await
    }
}

#[tokio::test]
async fn each_mechanism_matches_what_it_names() {
    let place = Place::new(&[
        ("all.test", "TXT", "v=spf1 ip4:192.0.2.0/28 ip6:2001:db8::/32 a:host.test/30 mx:mail.test -all"),
        ("host.test", "A", "198.51.100.4"),
        ("mail.test", "MX", "10 in.mail.test"),
        ("in.mail.test", "A", "203.0.113.9"),
        ("soft.test", "TXT", "v=spf1 ~all"),
        ("open.test", "TXT", "v=spf1 ip4:192.0.2.1"),
        ("include.test", "TXT", "v=spf1 include:all.test ?all"),
        ("moved.test", "TXT", "v=spf1 redirect=all.test"),
        ("macro.test", "TXT", "v=spf1 exists:%{ir}.%{v}._spf.%{d} -all"),
        ("7.113.0.203.in-addr._spf.macro.test", "A", "127.0.0.2"),
        ("other.test", "TXT", "v=spf10 +all"),
    ])
    .await;
    for ip in ["192.0.2.15", "2001:db8::7", "198.51.100.7", "203.0.113.9"] {
        assert_eq!(place.check(ip, "all.test").await, Outcome::Pass, "{ip}");
        assert_eq!(place.check(ip, "include.test").await, Outcome::Pass, "{ip}");
        assert_eq!(place.check(ip, "moved.test").await, Outcome::Pass, "{ip}");
    }
    assert_eq!(place.check("192.0.2.16", "all.test").await, Outcome::Fail);
    assert_eq!(place.check("192.0.2.16", "include.test").await, Outcome::Neutral, "what an include refuses is no match");
    assert_eq!(place.check("192.0.2.16", "moved.test").await, Outcome::Fail);
    assert_eq!(place.check("192.0.2.16", "soft.test").await, Outcome::SoftFail);
    assert_eq!(place.check("192.0.2.16", "open.test").await, Outcome::Neutral);
    assert_eq!(place.check("203.0.113.7", "macro.test").await, Outcome::Pass);
    assert_eq!(place.check("203.0.113.8", "macro.test").await, Outcome::Fail);
    assert_eq!(place.check("192.0.2.1", "other.test").await, Outcome::None, "another version is no record");
    assert_eq!(place.check("192.0.2.1", "nothing.test").await, Outcome::None);
}

#[tokio::test]
async fn what_no_receiver_can_evaluate_is_said() {
    let place = Place::new(&[
        ("two.test", "TXT", "v=spf1 -all"),
        ("two.test", "TXT", "v=spf1 +all"),
        ("bad.test", "TXT", "v=spf1 ip4:999.0.0.1 -all"),
        ("lost.test", "TXT", "v=spf1 include:nothing.test -all"),
        ("loop.test", "TXT", "v=spf1 include:loop.test -all"),
        ("void.test", "TXT", "v=spf1 a:a.void.test a:b.void.test a:c.void.test -all"),
        ("down.test", "TXT", "v=spf1 include:broken.test -all"),
    ])
    .await;
    place.server.zones.behave("broken.test", Some(Behaviour::Fail)).expect("a name");
    let reason = async |domain: &str| match place.check("192.0.2.1", domain).await {
        Outcome::PermError(reason) => reason,
        outcome => panic!("{domain}: {outcome:?}"),
    };
    assert_eq!(reason("two.test").await, "two.test has 2 SPF records, and must have one");
    assert_eq!(reason("bad.test").await, "the SPF record of bad.test is malformed: v=spf1 ip4:999.0.0.1 -all");
    assert_eq!(reason("lost.test").await, "lost.test includes nothing.test, which has no SPF record");
    assert_eq!(reason("loop.test").await, "it takes more than 10 look-ups (at loop.test)");
    assert_eq!(reason("void.test").await, "more than 2 of its look-ups find nothing");
    assert_eq!(place.check("192.0.2.1", "down.test").await, Outcome::TempError("the name server says SERVFAIL".to_owned()));
}

#[tokio::test]
async fn ten_look_ups_are_allowed_and_eleven_are_not() {
    let ten: String = (0..10).map(|n| format!("a:h{n}.test ")).collect();
    let place =
        Place::new(&[("ten.test", "TXT", &format!("v=spf1 {ten}-all")), ("eleven.test", "TXT", &format!("v=spf1 {ten}mx -all"))])
            .await;
    for n in 0..10 {
        place.server.zones.add(&format!("h{n}.test"), "A", "198.51.100.1").expect("a record");
    }
    assert_eq!(place.check("192.0.2.1", "ten.test").await, Outcome::Fail);
    assert!(matches!(place.check("192.0.2.1", "eleven.test").await, Outcome::PermError(_)));
}
