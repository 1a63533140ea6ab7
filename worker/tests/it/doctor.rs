//! What a worker stands on: each part that fails is told, with what to do.

use mochila_bench::dns::{Behaviour, Server};
use mochila_worker::doctor::examine;
use shared::{
    clock::Clock,
    operations::doctor::{Check, Verdict},
};

use crate::house::House;

async fn look(house: &House) -> Vec<Check> {
    examine(&house.stage.settings, &house.stage.clock).await
}

fn verdict(checks: &[Check], name: &str) -> Verdict {
    checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no {name} in {checks:?}")).verdict
}

/// A house whose listener is free: another test's worker may have the default port.
async fn house() -> House {
    let mut house = House::new().await;
    house.stage.settings.worker.metrics_listen = "127.0.0.1:0".to_owned();
    house
}

#[tokio::test]
async fn a_good_house_has_nothing_that_fails() {
    let mut house = house().await;
    let names = Server::start().await.expect("a name server");
    house.stage.settings.dns.servers = names.address.to_string();
    house.stage.settings.mail.relay_url = format!("smtp://127.0.0.1:{}", house.sink.smtp.port()).into();
    let checks = look(&house).await;
    let failed: Vec<&Check> = checks.iter().filter(|check| check.verdict == Verdict::Fail).collect();
    assert_eq!(failed, Vec::<&Check>::new());
    for name in [
        "postgres",
        "postgres.schema",
        "postgres.clock",
        "redis",
        "redis.clock",
        "store",
        "dns.public_url",
        "dns.servers",
        "routes",
        "sending",
        "mail.relay_url",
    ] {
        assert_eq!(verdict(&checks, name), Verdict::Ok, "{name}");
    }
    for name in ["store.disk", "postgres.disk"] {
        let check = checks.iter().find(|check| check.name == name).expect("a disk");
        assert!(check.says.ends_with("GiB are free"), "{check:?}");
    }
    assert_eq!(verdict(&checks, &format!("relay relay {}", house.sink.smtp.port())), Verdict::Ok);
    assert_eq!(house.sink.counts.stats().received, 0, "nothing is sent");
}

#[tokio::test]
async fn a_relay_that_does_not_answer_or_does_not_take_our_credentials_fails() {
    let house = house().await;
    house.stage.execute("UPDATE routes SET url = 'smtp://127.0.0.1:1', name = 'gone'").await;
    house.stage.route(house.sink.smtp.port()).await;
    house
        .stage
        .execute(
            "UPDATE routes SET name = 'stranger', username = 'ann' WHERE name <> 'gone';
             INSERT INTO routes (id, name, kind, url, tls, max_connections) VALUES (gen_random_uuid(), 'nameless', 'relay', 'smtp://relay.invalid:25', 'none', 1)",
        )
        .await;
    let checks = look(&house).await;
    for name in ["relay gone", "relay stranger", "relay nameless"] {
        assert_eq!(verdict(&checks, name), Verdict::Fail, "{name}");
    }
    house.stage.execute("UPDATE routes SET password_sealed = 'broken' WHERE name = 'stranger'").await;
    assert_eq!(verdict(&look(&house).await, "routes"), Verdict::Fail);
    house.stage.execute("UPDATE routes SET disabled_at = now()").await;
    assert_eq!(verdict(&look(&house).await, "routes"), Verdict::Warn);
}

#[tokio::test]
async fn name_servers_and_the_relay_of_account_mail_that_do_not_answer_fail() {
    let mut house = house().await;
    let names = Server::start().await.expect("a name server");
    house.stage.settings.dns.servers = names.address.to_string();
    house.stage.settings.dns.timeout_ms = 1_000;
    let workspace = house.stage.workspace("Acme").await;
    house.stage.verified_domain(workspace, "shop.test").await;
    names.zones.behave("shop.test", Some(Behaviour::Fail)).expect("a name");
    let checks = look(&house).await;
    assert_eq!((verdict(&checks, "dns.servers"), verdict(&checks, "mail.relay_url")), (Verdict::Fail, Verdict::Warn));
    house.stage.settings.dns.servers = "127.0.0.1:1".to_owned();
    house.stage.settings.mail.relay_url = "smtp://127.0.0.1:1".to_owned().into();
    let checks = look(&house).await;
    assert_eq!((verdict(&checks, "dns.servers"), verdict(&checks, "mail.relay_url")), (Verdict::Fail, Verdict::Fail));
}

#[tokio::test]
async fn a_house_without_redis_disk_time_schema_or_room_is_told_so() {
    let mut house = house().await;
    house.stage.clock = Clock::fixed("2026-01-15T12:00:00Z".parse().expect("a date"));
    house.stage.settings.redis.url = "redis://127.0.0.1:1/0".to_owned().into();
    house.stage.settings.store.url = "file:///proc/nowhere".to_owned();
    house.stage.settings.database.max_connections = 100_000;
    house.stage.settings.worker.metrics_listen = house.sink.smtp.to_string();
    house
        .stage
        .execute("UPDATE _sqlx_migrations SET version = version + 1000 WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
        .await;
    house.stage.execute("UPDATE installation SET database_oid = 1").await;
    let checks = look(&house).await;
    for name in
        ["redis", "store", "postgres.clock", "postgres.schema", "postgres.connections", "open files", "worker.metrics_listen"]
    {
        assert_eq!(verdict(&checks, name), Verdict::Fail, "{name}: {checks:?}");
    }
    assert_eq!(verdict(&checks, "sending"), Verdict::Warn);
    assert!(checks.iter().all(|check| (check.verdict == Verdict::Ok) == check.mend.is_none()));
}

#[tokio::test]
async fn a_house_without_postgres_is_told_so_and_nothing_else_is_asked_of_it() {
    let mut house = house().await;
    house.stage.settings.database.url = "postgres://nobody@127.0.0.1:1/nothing".to_owned().into();
    let checks = look(&house).await;
    assert_eq!(verdict(&checks, "postgres"), Verdict::Fail);
    assert!(!checks.iter().any(|check| check.name.starts_with("postgres.") || check.name.starts_with("relay")));
    assert_eq!(verdict(&checks, "redis"), Verdict::Ok);
}
