//! Sending domains are verified over a real name server.

use mochila_bench::dns::{Behaviour, Server};
use mochila_worker::process::Process;
use shared::{
    accounts::scope::Scope,
    queue::lane::Lane,
    sending_domains::{
        check::Verdict,
        dkim_key, payload, records,
        sending_domain::{self, SendingDomain, State},
        sources::Sources,
    },
    vault::Vault,
};
use uuid::Uuid;

use crate::house::House;

struct Registry {
    house: House,
    server: Server,
    vault: Vault,
    scope: Scope,
    worker: Process,
}

impl Registry {
    async fn new() -> Self {
        let mut house = House::new().await;
        let server = Server::start().await.expect("a name server");
        house.stage.settings.dns.servers = server.address.to_string();
        house.stage.settings.dns.timeout_ms = 1_000;
        house.stage.settings.sending.bounce_host = "in.mochila.test".to_owned();
        let scope = Scope::client(house.stage.workspace("Acme").await);
        let vault = Vault::from_settings(&house.stage.settings.secrets).expect("a vault");
        let worker = house.worker(&[(Lane::Maintenance, 2)]).await;
        Self { house, server, vault, scope, worker }
    }

    async fn claim(&self, domain: &str) -> Uuid {
        self.claim_for(self.scope, domain).await
    }

    async fn claim_for(&self, scope: Scope, domain: &str) -> Uuid {
        let mut connection = self.house.stage.pool.acquire().await.expect("a connection");
        sending_domain::create(&mut connection, &self.vault, scope, domain).await.expect("a domain").id
    }

    /// Publishes what a person would copy.
    async fn publish(&self, id: Uuid) {
        let stage = &self.house.stage;
        let mut connection = stage.pool.acquire().await.expect("a connection");
        let domain = sending_domain::read(&mut connection, id).await.expect("the domain");
        let keys = dkim_key::published(&mut connection, id).await.expect("its keys");
        let sources = Sources::read(&mut connection, &stage.settings).await.expect("the routes");
        for record in records::all(&domain, &keys, &sources, &records::inbound_host(&stage.settings)) {
            self.server.zones.add(&record.name, &record.kind, &record.value).expect("a record");
        }
    }

    async fn verify(&self, id: Uuid) -> SendingDomain {
        let mut connection = self.house.stage.pool.acquire().await.expect("a connection");
        let scope = Scope::client(sending_domain::read(&mut connection, id).await.expect("the domain").workspace_id);
        let job = payload::verify(&mut connection, scope, id).await.expect("a job");
        for _ in 0..1_200 {
            let over = self.house.stage.number("SELECT count(*) FROM jobs WHERE id = $1 AND finished_at IS NOT NULL", job).await;
            if over == 1 {
                return sending_domain::read(&mut connection, id).await.expect("the domain");
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        panic!("not verified within half a minute");
    }

    /// Every name of the domain answers so.
    fn behave(&self, names: &[&str], behaviour: Option<Behaviour>) {
        for name in names {
            self.server.zones.behave(name, behaviour.clone()).expect("a name");
        }
    }
}

fn verdicts(domain: &SendingDomain) -> Vec<(&str, Verdict, bool)> {
    let short = |name: &str| match name {
        name if name.ends_with("-rsa") => "rsa",
        name if name.ends_with("-ed25519") => "ed25519",
        "ownership" => "ownership",
        "spf" => "spf",
        "dmarc" => "dmarc",
        "alignment" => "alignment",
        "mx" => "mx",
        "return_path" => "return_path",
        "ptr" => "ptr",
        "mta_sts" => "mta_sts",
        _ => "tls_rpt",
    };
    domain.checks.iter().map(|check| (short(&check.name), check.verdict, check.answered)).collect()
}

fn failed(domain: &SendingDomain) -> Vec<&str> {
    let all = verdicts(domain).into_iter();
    all.filter(|(_, verdict, answered)| *verdict == Verdict::Fail && *answered).map(|(name, ..)| name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_is_verified_once_its_records_are_published_and_its_keys_sign() {
    let place = Registry::new().await;
    let id = place.claim("shop.test").await;
    let before = place.verify(id).await;
    assert_eq!((before.state, failed(&before)), (State::Pending, vec!["ownership", "rsa", "spf", "dmarc", "return_path"]));
    let missing: Vec<&str> =
        before.checks.iter().filter(|check| check.verdict != Verdict::Pass).map(|check| check.advice.as_str()).collect();
    assert!(missing.iter().all(|advice| !advice.is_empty()), "each says what to change: {missing:?}");

    place.publish(id).await;
    let verified = place.verify(id).await;
    assert_eq!((verified.state, failed(&verified)), (State::Verified, Vec::new()));
    assert!(verified.verified_at.is_some() && verified.failing_since.is_none());
    let keys = dkim_key::active(&place.house.stage.pool, &place.vault, place.scope.workspace_id, "shop.test").await.expect("keys");
    assert_eq!(keys.len(), 2);
    place.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_dns_takes_nobodys_domain_away() {
    let place = Registry::new().await;
    let (id, young) = (place.claim("shop.test").await, place.claim("young.test").await);
    place.publish(id).await;
    place.publish(young).await;
    assert_eq!(place.verify(id).await.state, State::Verified);
    let names = ["_mochila.shop.test", "bounces.shop.test", "_dmarc.shop.test", "shop.test", "_mochila.young.test"];
    place.behave(&names, Some(Behaviour::Fail));
    let during = place.verify(id).await;
    assert_eq!(during.state, State::Verified);
    let spf = during.checks.iter().find(|check| check.name == "spf").expect("a check");
    assert_eq!((spf.answered, spf.verdict, spf.found.as_str()), (false, Verdict::Pass, "unknown: the name server says SERVFAIL"));
    assert_eq!(place.verify(young).await.state, State::Pending, "nobody becomes verified by an outage either");
    place.behave(&names, None);
    assert_eq!(place.verify(young).await.state, State::Verified);
    place.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_goes_degrades_a_domain_and_neither_spf_nor_dkim_fails_it() {
    let place = Registry::new().await;
    let id = place.claim("shop.test").await;
    place.publish(id).await;
    assert_eq!(place.verify(id).await.state, State::Verified);
    let zones = &place.server.zones;
    zones.set("bounces.shop.test", "TXT", "v=spf1 ip4:192.0.2.1 -all").expect("a record");
    let degraded = place.verify(id).await;
    assert_eq!((degraded.state, failed(&degraded)), (State::Degraded, vec!["spf"]));
    let spf = degraded.checks.iter().find(|check| check.name == "spf").expect("a check");
    assert_eq!(spf.advice, "the record at bounces.shop.test does not let 127.0.0.1 send: add it");
    for key in dkim_key::published(&mut place.house.stage.pool.acquire().await.expect("one"), id).await.expect("keys") {
        zones.set(&key.record_name("shop.test"), "TXT", "v=DKIM1; k=rsa; p=").expect("a record");
    }
    let stage = &place.house.stage;
    let other = stage.campaign(&[("one.test", 1)]).await;
    stage
        .arrange(format!("UPDATE campaigns SET workspace_id = '{}', from_email = 'news@shop.test'", place.scope.workspace_id))
        .await;
    assert_eq!(place.verify(id).await.state, State::Failed);
    let reason = stage.text("SELECT state || ': ' || pause_reason FROM campaigns", "").await;
    assert!(reason.starts_with("paused: mail cannot come from shop.test: it is failed; failed checks: dkim m"), "{reason}");
    assert_eq!(stage.number("SELECT count(*) FROM campaigns WHERE id = $1", other.campaign_id).await, 1);
    place.publish(id).await;
    assert_eq!(place.verify(id).await.state, State::Failed, "two records of each are worse than one");
    place.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_workspaces_that_claim_a_domain_one_verifies_it() {
    let place = Registry::new().await;
    let rival = Scope::client(place.house.stage.workspace("Rival").await);
    let (mine, theirs) = (place.claim("shop.test").await, place.claim_for(rival, "shop.test").await);
    place.publish(mine).await;
    place.publish(theirs).await;
    assert_eq!(place.verify(mine).await.state, State::Verified);
    let refused = place.verify(theirs).await;
    assert_eq!((refused.state, failed(&refused)), (State::Pending, vec!["ownership"]));
    let mut connection = place.house.stage.pool.acquire().await.expect("a connection");
    sending_domain::delete(&mut connection, place.scope, mine).await.expect("deleted");
    assert_eq!(place.verify(theirs).await.state, State::Verified);
    place.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_sign_once_they_are_published_and_the_old_ones_retire() {
    let place = Registry::new().await;
    let id = place.claim("shop.test").await;
    place.publish(id).await;
    place.verify(id).await;
    let pool = place.house.stage.pool.clone();
    let active = async || {
        let keys = dkim_key::active(&pool, &place.vault, place.scope.workspace_id, "shop.test").await.expect("keys");
        keys.into_iter().map(|key| key.selector).collect::<Vec<_>>()
    };
    let first = active().await;
    let mut connection = pool.acquire().await.expect("a connection");
    sending_domain::rotate_keys(&mut connection, &place.vault, place.scope, id).await.expect("new keys");
    let waiting = place.verify(id).await;
    assert_eq!((waiting.state, active().await), (State::Verified, first.clone()), "nothing changes until they are published");
    place.publish(id).await;
    place.verify(id).await;
    let second = active().await;
    assert!(second.len() == 2 && second.iter().all(|selector| !first.contains(selector)));
    place.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_is_looked_at_again_without_being_asked() {
    let place = Registry::new().await;
    let id = place.claim("shop.test").await;
    place.publish(id).await;
    let mut connection = place.house.stage.pool.acquire().await.expect("a connection");
    let soon = place.house.stage.clock.now() + chrono::TimeDelta::seconds(5);
    let put = async |connection: &mut shared::database::Connection| {
        shared::sending_domains::due::enqueue(connection, soon).await.expect("in line")
    };
    // The schedule of the worker may have been first.
    assert!(put(&mut connection).await <= 1);
    assert_eq!(put(&mut connection).await, 0, "it is in line once");
    for _ in 0..1_200 {
        if sending_domain::read(&mut connection, id).await.expect("the domain").state == State::Verified {
            return place.worker.stop().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("not looked at within half a minute");
}
