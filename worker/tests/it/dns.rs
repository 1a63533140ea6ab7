//! Asking name servers: a real one, on loopback.

use futures::future::{join, join_all};
use mochila_bench::dns::{Behaviour, Server};
use mochila_worker::clients::dns::{Answer, Dns, Exchange, MailExchanges};
use shared::settings::Settings;
use tokio::sync::watch;

fn client(servers: &str) -> Dns {
    let mut settings = Settings::sample().dns;
    settings.servers = servers.to_owned();
    settings.timeout_ms = 2_000;
    Dns::from_settings(&settings).expect("a client")
}

async fn start(records: &[(&str, &str, &str)]) -> (Server, Dns) {
    let server = Server::start().await.expect("a name server");
    for (name, kind, value) in records {
        server.zones.add(name, kind, value).expect("a record");
    }
    let dns = client(&server.address.to_string());
    (server, dns)
}

fn exchange(preference: u16, host: &str) -> Exchange {
    Exchange { preference, host: host.to_owned() }
}

#[tokio::test]
async fn records_of_each_type_are_found_and_aliases_followed() {
    let long = "v=DKIM1; p=".to_owned() + &"A".repeat(400);
    let (server, dns) = start(&[
        ("example.test", "TXT", "v=spf1 -all"),
        ("long.example.test", "TXT", &long),
        ("example.test", "MX", "20 Mail2.Example.test."),
        ("example.test", "MX", "10 mail.example.test"),
        ("mail.example.test", "A", "192.0.2.1"),
        ("mail.example.test", "AAAA", "2001:db8::1"),
        ("alias.example.test", "CNAME", "mail.example.test"),
    ])
    .await;
    server.zones.add_ptr("192.0.2.1".parse().expect("an address"), "mail.example.test").expect("a record");

    assert_eq!(dns.txt("Example.test").await, Answer::Found(vec!["v=spf1 -all".to_owned()]));
    assert_eq!(dns.txt("long.example.test.").await, Answer::Found(vec![long]), "its strings are put together");
    let both = vec![exchange(10, "mail.example.test"), exchange(20, "mail2.example.test")];
    assert_eq!(dns.mx("example.test").await, Answer::Found(MailExchanges::Hosts(both)));
    assert_eq!(dns.a("alias.example.test").await, Answer::Found(vec!["192.0.2.1".parse().expect("an address")]));
    assert_eq!(dns.aaaa("mail.example.test").await, Answer::Found(vec!["2001:db8::1".parse().expect("an address")]));
    assert_eq!(dns.cname("alias.example.test").await, Answer::Found("mail.example.test".to_owned()));
    assert_eq!(dns.ptr("192.0.2.1".parse().expect("an address")).await, Answer::Found(vec!["mail.example.test".to_owned()]));
}

#[tokio::test]
async fn no_name_no_records_no_mail_and_no_answer_are_told_apart() {
    let (server, dns) = start(&[
        ("null.test", "MX", "0 ."),
        ("mixed.test", "MX", "0 ."),
        ("mixed.test", "MX", "10 mail.mixed.test"),
        ("below.empty.test", "A", "192.0.2.1"),
        ("alias.test", "CNAME", "below.empty.test"),
        ("broken.test", "A", "192.0.2.1"),
        ("denied.test", "A", "192.0.2.1"),
    ])
    .await;
    server.zones.behave("broken.test", Some(Behaviour::Fail)).expect("a name");
    server.zones.behave("denied.test", Some(Behaviour::Deny)).expect("a name");

    assert_eq!(dns.mx("null.test").await, Answer::Found(MailExchanges::Null));
    let hosts = vec![exchange(10, "mail.mixed.test")];
    assert_eq!(dns.mx("mixed.test").await, Answer::Found(MailExchanges::Hosts(hosts)), "a null MX beside others is a mistake");
    assert_eq!(dns.a("null.test").await, Answer::NoRecords);
    assert_eq!(dns.a("empty.test").await, Answer::NoRecords, "something is below it");
    assert_eq!(dns.mx("alias.test").await, Answer::NoRecords, "an alias whose end has none");
    assert_eq!(dns.a("nothing.test").await, Answer::NoName);
    assert_eq!(dns.a("denied.test").await, Answer::NoName);
    assert_eq!(dns.a(&format!("{}.test", "a".repeat(64))).await, Answer::NoName, "no label is that long");
    assert_eq!(dns.a("broken.test").await, Answer::Unknown("the name server says SERVFAIL".to_owned()));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_in_time() {
    let (server, _) = start(&[]).await;
    server.zones.behave("silent.test", Some(Behaviour::Silent)).expect("a name");
    let mut settings = Settings::sample().dns;
    settings.servers = server.address.to_string();
    settings.timeout_ms = 50;
    let dns = Dns::from_settings(&settings).expect("a client");
    assert_eq!(dns.a("silent.test").await, Answer::Unknown("no name server answered in time".to_owned()));
    assert!(matches!(client("127.0.0.1:1").a("example.test").await, Answer::Unknown(_)), "nobody listens there");
}

#[tokio::test]
async fn many_who_ask_the_same_at_once_cost_one_look_up() {
    let (server, dns) = start(&[("example.test", "A", "192.0.2.1")]).await;
    let (go, held) = watch::channel(false);
    server.zones.behave("example.test", Some(Behaviour::Held(held))).expect("a name");
    // All of them have asked when the last future runs for the first time.
    let (answers, _) = join(join_all((0..20).map(|_| dns.a("example.test"))), async { go.send(true) }).await;
    assert!(answers.iter().all(|answer| *answer == Answer::Found(vec!["192.0.2.1".parse().expect("an address")])));
    assert_eq!(server.zones.asked("example.test", "A").expect("a name"), 1);
    assert_eq!(server.zones.asked("example.test", "AAAA").expect("a name"), 0);
}

#[tokio::test]
async fn who_gives_up_asking_takes_nobody_elses_answer_away() {
    let (server, dns) = start(&[("example.test", "A", "192.0.2.1")]).await;
    let (go, held) = watch::channel(false);
    server.zones.behave("example.test", Some(Behaviour::Held(held))).expect("a name");
    let mut first = Box::pin(dns.a("example.test"));
    assert!(futures::poll!(&mut first).is_pending());
    let mut second = Box::pin(dns.a("example.test"));
    assert!(futures::poll!(&mut second).is_pending());
    drop(first);
    go.send(true).expect("the server holds it");
    assert_eq!(second.await, Answer::Found(vec!["192.0.2.1".parse().expect("an address")]));
}
