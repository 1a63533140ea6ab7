//! How fast mail goes to whom: over several workers, through a flushed Redis, by who runs a domain, and as replies teach.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::TimeDelta;
use mochila_bench::dns::Server;
use mochila_worker::{
    clients::{dns::Dns, smtp::TlsMode},
    sending::{
        guide::Road,
        leases::Leases,
        limiter::{Limiter, Take},
        providers::{MailHosts, Providers},
        rule_book::RuleBook,
        shaper::Shaper,
    },
};
use shared::{
    PgPool,
    deliveries::{
        destination, hits,
        shaping::{OTHER, Rules},
    },
    keyspace::Keyspace,
    queue::lane::Lane,
    testing::Stage,
};
use uuid::Uuid;

use crate::house::House;

/// Lays this over the default rules.
fn lay_over(stage: &mut Stage, text: &str) {
    let path = std::env::temp_dir().join(format!("{}.shaping.toml", Uuid::now_v7().simple()));
    std::fs::write(&path, text).expect("written");
    stage.settings.sending.shaping = path.display().to_string();
}

/// What a worker process shapes with.
fn shaper(stage: &Stage, asked: Option<Arc<dyn MailHosts>>) -> Shaper {
    let keyspace = Keyspace::new(&stage.settings.redis).expect("an address");
    Shaper::new(
        RuleBook::open(&stage.settings).expect("rules"),
        Providers::new(stage.pool.clone(), asked, true),
        Limiter::new(keyspace, stage.pool.clone(), stage.clock.clone()),
        stage.settings.sending.retry.clone(),
        stage.clock.clone(),
    )
}

fn road(name: &str) -> Road {
    Road {
        id: Uuid::from_u128(9),
        name: name.to_owned(),
        host: "127.0.0.1".to_owned(),
        port: 25,
        tls: TlsMode::None,
        username: None,
        password: None,
        max_connections: 10,
        rate_per_second: None,
        weight: 1,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_several_levels_hold_over_two_workers() {
    let mut house = House::new().await;
    lay_over(
        &mut house.stage,
        "[provider.pond]\ndomain_suffixes = [\".pond.test\"]\nper_second = 60.0\nconnections = 3\n[domain.\"a.pond.test\"]\nper_second = 20.0",
    );
    // Those of a.pond.test have chunks of their own, the others are mixed with somebody else's.
    let campaign =
        house.stage.campaign(&[("a.pond.test", 120), ("b.pond.test", 90), ("c.pond.test", 90), ("orchard.test", 90)]).await;
    let (first, second) = (house.worker(&[(Lane::Bulk, 3)]).await, house.worker(&[(Lane::Bulk, 3)]).await);
    let tally = house.until_finished(campaign.campaign_id).await;
    first.stop().await;
    second.stop().await;
    assert_eq!((tally.accepted, house.sink.counts.stats().duplicates), (390, 0), "{tally:?}");
    let mut all: HashMap<u64, u64> = HashMap::new();
    for domain in ["a.pond.test", "b.pond.test", "c.pond.test"] {
        for (second, received) in house.sink.counts.seconds(domain).expect("received") {
            *all.entry(second).or_default() += received;
            assert!(domain != "a.pond.test" || received <= 20 + 4 + 2 * 2, "the domain's own rate: {received}");
        }
    }
    assert!(all.values().all(|received| *received <= 60 + 12 + 2 * 6), "the provider's rate, over its domains: {all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_providers_connections_hold_over_two_workers_and_its_domains() {
    let mut house = House::new().await;
    lay_over(
        &mut house.stage,
        "[provider.pond]\ndomain_suffixes = [\".slow.test\"]\nconnections = 2\nmessages_per_connection = 10",
    );
    house.sink.settings.delay_ms.store(20, Ordering::Relaxed);
    let campaign = house.stage.campaign(&[("a.slow.test", 150), ("b.slow.test", 50)]).await;
    let (first, second) = (house.worker(&[(Lane::Bulk, 2)]).await, house.worker(&[(Lane::Bulk, 2)]).await);
    let most = AtomicI64::new(0);
    let sink = house.sink.counts.clone();
    let tally = house
        .until(campaign.campaign_id, "all are accepted", |tally| {
            let domains = sink.stats().domains;
            let open = domains.iter().filter(|(name, _)| name.ends_with(".slow.test")).map(|(_, one)| one.connections_open).sum();
            most.fetch_max(open, Ordering::Relaxed);
            tally.accepted == 200
        })
        .await;
    first.stop().await;
    second.stop().await;
    let most = most.into_inner();
    assert!((1..=2).contains(&most), "{most} connections at once: {tally:?}");
    let connections = house.sink.counts.stats().connections_total;
    assert!(connections >= 20, "ten messages a connection: {connections}");
}

#[tokio::test]
async fn a_warm_up_ramp_lets_each_day_have_its_number_over_two_processes_and_a_flush() {
    let mut house = House::new().await;
    house.stage.clock = shared::clock::Clock::fixed("2026-01-15T12:00:00Z".parse().expect("a date"));
    let warm_up = "[route.\"relay\".google]\nwarm_up = { first_day = \"2026-01-15\", per_day = [30, 50] }";
    lay_over(&mut house.stage, warm_up);
    let shapers = [shaper(&house.stage, None), shaper(&house.stage, None)];
    let road = Arc::new(road("relay"));
    let sell = async || {
        let mut sold = 0;
        for _ in 0..120 {
            for shaper in &shapers {
                let shaped = shaper.of(&road, Uuid::nil(), "gmail.com");
                let take = shaper.limiter.take(&shaped.till).await.expect("both answer");
                sold += u32::from(take == Take::Granted);
            }
        }
        sold
    };
    assert_eq!(sell().await, 30, "the first day's");
    house.flush_redis().await;
    assert_eq!(sell().await, 0, "a flush forgets no day");
    house.stage.clock.advance(TimeDelta::days(1));
    shapers.iter().for_each(|shaper| shaper.look(HashMap::new(), std::slice::from_ref(&road)));
    tokio::time::sleep(Duration::from_millis(510)).await;
    assert_eq!(sell().await, 50, "the second day's");
    house.stage.clock.advance(TimeDelta::days(1));
    shapers.iter().for_each(|shaper| shaper.look(HashMap::new(), std::slice::from_ref(&road)));
    assert_eq!(sell().await, 240, "the ramp is over");
}

#[tokio::test]
async fn a_message_that_the_day_has_no_room_for_costs_nothing_of_the_rate() {
    let mut house = House::new().await;
    house.stage.clock = shared::clock::Clock::fixed("2026-01-15T12:00:00Z".parse().expect("a date"));
    lay_over(&mut house.stage, "[route.\"relay\".google]\nwarm_up = { first_day = \"2026-01-15\", per_day = [1] }");
    let shaper = shaper(&house.stage, None);
    let road = Road { rate_per_second: Some(20.0), ..road("relay") };
    let shaped = shaper.of(&road, Uuid::nil(), "gmail.com");
    assert_eq!(shaper.limiter.take_urgent(&shaped.till).await.expect("both answer"), Take::Granted);
    let mut refused_by_the_day = 0;
    while refused_by_the_day < 10 {
        let Take::Refused { wait, .. } = shaper.limiter.take_urgent(&shaped.till).await.expect("both answer") else {
            panic!("the day has had its one")
        };
        if wait > Duration::from_secs(60) {
            refused_by_the_day += 1;
        } else {
            assert_eq!(refused_by_the_day, 0, "the rate's token was given back: {wait:?}");
            tokio::time::sleep(wait).await;
        }
    }
}

#[tokio::test]
async fn messages_that_go_ahead_of_campaigns_leave_a_minute_what_it_may_have() {
    let mut house = House::new().await;
    lay_over(&mut house.stage, "[domain.\"fast.test\"]\nper_minute = 6000.0");
    let shapers = [shaper(&house.stage, None), shaper(&house.stage, None)];
    let road = road("relay");
    let shaped = shapers.each_ref().map(|shaper| shaper.of(&road, Uuid::nil(), "fast.test"));
    let (begun, mut sold) = (tokio::time::Instant::now(), 0.0);
    // Both processes, campaigns and messages, as much as there is to be had.
    while begun.elapsed() < Duration::from_secs(3) {
        for (shaper, shaped) in shapers.iter().zip(&shaped) {
            for take in [shaper.limiter.take(&shaped.till).await, shaper.limiter.take_urgent(&shaped.till).await] {
                sold += f64::from(u8::from(take.expect("Redis answers") == Take::Granted));
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    assert!(sold > 100.0 * seconds, "messages go ahead: {sold} in {seconds} s");
    // What a minute would have at this pace: the pace of its rest, and what was had at once.
    let pace = 100.0 / (61.6 / 60.0);
    assert!(sold <= pace * (seconds + 1.2) + 1.0, "{sold} in {seconds} s");
    assert!(pace * (60.0 + 1.2 + 2.0 * 0.1) <= 6000.0);
}

#[tokio::test]
async fn a_slow_rate_sells_nothing_right_after_a_flush() {
    let mut house = House::new().await;
    lay_over(&mut house.stage, "[domain.\"slow.test\"]\nper_minute = 30.0");
    let shapers = [shaper(&house.stage, None), shaper(&house.stage, None)];
    let road = road("relay");
    for round in 0..5 {
        for shaper in &shapers {
            let shaped = shaper.of(&road, Uuid::nil(), "slow.test");
            let take = shaper.limiter.take(&shaped.till).await.expect("Redis answers");
            assert!(matches!(take, Take::Refused { by_destination: true, .. }), "round {round}: {take:?}");
        }
        house.flush_redis().await;
    }
}

#[tokio::test]
async fn a_flush_gives_nobody_a_connection_that_somebody_holds() {
    let house = House::new().await;
    let keyspace = || Keyspace::new(&house.stage.settings.redis).expect("an address");
    let (first, second) = (Leases::new(keyspace()), Leases::new(keyspace()));
    let held = first.take("provider:pond", 2, 2).await.expect("Redis answers");
    assert_eq!((held.len(), second.take("provider:pond", 2, 2).await.expect("Redis answers").len()), (2, 0));
    house.flush_redis().await;
    for _ in 0..3 {
        assert!(
            second.take("provider:pond", 2, 2).await.expect("Redis answers").is_empty(),
            "before the others have told what they hold"
        );
    }
    // Nor anybody who starts now, beside a worker that was there before.
    let third = Leases::new(keyspace());
    third.begin(&house.stage.pool).await;
    assert_eq!(third.take("provider:lake", 1, 1).await.expect("Redis answers").len(), 1, "no worker is older than the flush");
    house.stage.execute("INSERT INTO workers (id, host, pid, slots, created_at) VALUES (gen_random_uuid(), 'a', 1, '{}', now() - interval '1 hour')").await;
    let fourth = Leases::new(keyspace());
    fourth.begin(&house.stage.pool).await;
    assert!(fourth.take("provider:pond", 2, 2).await.expect("Redis answers").is_empty());
    house.long_ago().await;
    let fifth = Leases::new(keyspace());
    fifth.begin(&house.stage.pool).await;
    first.renew().await.expect("Redis answers");
    assert!(fifth.take("provider:pond", 2, 2).await.expect("Redis answers").is_empty(), "all have told, and both are held");
    assert_eq!(fifth.take("provider:lake", 2, 2).await.expect("Redis answers").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_connections_that_is_lowered_holds_for_those_that_are_open() {
    let house = House::new().await;
    house.sink.settings.delay_ms.store(100, Ordering::Relaxed);
    house.stage.execute("INSERT INTO destinations (domain, max_connections) VALUES ('orchard.test', 10)").await;
    let campaign = house.stage.campaign(&[("orchard.test", 2_000), ("harbor.test", 2_000)]).await.campaign_id;
    let worker = house.worker(&[(Lane::Bulk, 4)]).await;
    house.until(campaign, "some are accepted", |tally| tally.accepted >= 100).await;
    assert!(house.connections_to_route().await > 6 && house.connections_to("orchard.test").await > 2);
    house.stage.execute("UPDATE routes SET max_connections = 6").await;
    house.stage.execute("UPDATE destinations SET max_connections = 2").await;
    for _ in 0..600 {
        if house.connections_to_route().await <= 6 && house.connections_to("orchard.test").await <= 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(house.connections_to_route().await <= 6 && house.connections_to("orchard.test").await <= 2);
    assert!(house.tally(campaign).await.accepted < 4_000, "the campaign is on its way all the time");
    let before = house.tally(campaign).await.accepted;
    house.until(campaign, "it goes on", |tally| tally.accepted > before + 50).await;
    worker.stop().await;
    assert_eq!(house.sink.counts.stats().duplicates, 0);
}

#[tokio::test]
async fn a_changed_file_is_taken_up_and_a_wrong_one_changes_nothing() {
    let mut stage = Stage::new().await;
    lay_over(&mut stage, "[provider.google]\nconnections = 7");
    let path = stage.settings.sending.shaping.clone();
    let book = RuleBook::open(&stage.settings).expect("rules");
    let before = book.rules();
    assert!(!book.look(&stage.pool).await.expect("the same file"));
    for (wrong, says) in [
        ("[provider.google]\nconections = 7", "provider.google.conections: unknown field"),
        (
            "[rule.a]\nproviders = [\"gmail\"]\ncodes = [421]\nsuspend = true\nfor_seconds = 60.0",
            "no provider block is called \"gmail\"",
        ),
    ] {
        std::fs::write(&path, wrong).expect("written");
        let error = book.look(&stage.pool).await.expect_err(wrong).to_string();
        assert!(error.contains(says), "{error}");
        assert!(!book.look(&stage.pool).await.expect("told once"));
        assert!(Arc::ptr_eq(&before, &book.rules()), "the rules from before hold");
    }
    std::fs::write(&path, "[nonsense]").expect("written");
    assert!(RuleBook::open(&stage.settings).is_err(), "no worker starts with a file that is wrong");
}

#[tokio::test]
async fn a_file_that_names_what_is_not_there_is_taken_up_when_it_is() {
    let mut stage = Stage::new().await;
    lay_over(&mut stage, "[provider.google]\nconnections = 7");
    let path = stage.settings.sending.shaping.clone();
    let book = RuleBook::open(&stage.settings).expect("rules");
    let before = book.rules();
    for (wrong, says) in [
        ("[workspace.\"00000000-0000-0000-0000-000000000001\"]\nper_day = 5", "there is no such workspace"),
        ("[route.\"relay 25\".google]\nper_day = 5", "no route is called so"),
    ] {
        std::fs::write(&path, wrong).expect("written");
        for _ in 0..2 {
            let error = book.look(&stage.pool).await.expect_err(wrong).to_string();
            assert!(error.contains(says), "{error}");
            assert!(Arc::ptr_eq(&before, &book.rules()), "the rules from before hold");
        }
    }
    let closed = PgPool::connect_lazy("postgres://127.0.0.1:1/none").expect("a pool that reaches nobody");
    closed.close().await;
    assert!(book.look(&closed).await.is_err(), "nobody can say whether the route is there");
    stage.route(25).await;
    assert!(book.look(&stage.pool).await.expect("it is right now, though nobody has touched it"));
    assert!(!Arc::ptr_eq(&before, &book.rules()));
    assert!(!book.look(&stage.pool).await.expect("the same file"));
    // A worker that starts with such a file asks as soon as it runs.
    assert!(RuleBook::open(&stage.settings).expect("rules").look(&stage.pool).await.expect("it is right"));
}

#[tokio::test]
async fn who_runs_a_domain_is_told_by_its_mail_hosts_and_nobody_waits_for_that() {
    let stage = Stage::new().await;
    let server = Server::start().await.expect("a name server");
    for (name, kind, value) in [
        ("company.test", "MX", "10 aspmx.l.google.com"),
        ("company.test", "MX", "20 alt1.aspmx.l.google.com"),
        ("backup.test", "MX", "10 aspmx.l.google.com"),
        ("backup.test", "MX", "20 mail.backup.test"),
    ] {
        server.zones.add(name, kind, value).expect("a record");
    }
    let mut settings = stage.settings.dns.clone();
    settings.servers = server.address.to_string();
    let dns: Arc<dyn MailHosts> = Arc::new(Dns::from_settings(&settings).expect("a client"));
    let first = shaper(&stage, Some(dns));
    let provider = |shaper: &Shaper, domain: &str| shaper.of(&road("relay"), Uuid::nil(), domain).shape.provider.to_string();
    let domains = ["company.test", "backup.test", "nowhere.test"];
    assert_eq!(domains.map(|domain| provider(&first, domain)), [OTHER; 3], "until it is known");
    first.forget(&first.providers.find_out().await);
    assert_eq!(domains.map(|domain| provider(&first, domain)), ["google", OTHER, OTHER], "every host must be the provider's");
    drop(server);
    // Another process finds it in the database, without a name server.
    let second = shaper(&stage, Some(Arc::new(Dns::from_settings(&settings).expect("a client"))));
    assert_eq!(provider(&second, "company.test"), OTHER);
    second.forget(&second.providers.find_out().await);
    assert_eq!(provider(&second, "company.test"), "google");
}

const BUSY: &str =
    "[rule.busy]\ndomains = [\"busy.test\"]\nenhanced = [\"4.3.2\"]\ntimes_an_hour = 5\nsuspend = true\nfor_seconds = 3600.0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adaptive_rule_acts_once_though_two_workers_hear_the_same() {
    let mut house = House::new().await;
    lay_over(&mut house.stage, BUSY);
    house.sink.settings.busy_per_second.store(0, Ordering::Relaxed);
    let campaign = house.stage.campaign(&[("busy.test", 200), ("orchard.test", 50)]).await.campaign_id;
    let (first, second) = (house.worker(&[(Lane::Bulk, 2)]).await, house.worker(&[(Lane::Bulk, 2)]).await);
    house.until(campaign, "the others are done", |tally| tally.accepted == 50).await;
    let question = "SELECT count(*) FROM destinations WHERE domain = 'busy.test' AND rule = 'busy' AND suspended_until > now()
                    AND reason = 'rule busy' AND last_reply LIKE '452 4.3.2%' AND $1::uuid IS NOT NULL";
    for _ in 0..200 {
        if house.stage.number(question, campaign).await == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(house.stage.number(question, campaign).await, 1, "it is suspended, with the reason and the words");
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn two_workers_that_count_at_once_act_once_and_afterwards_it_recovers_step_by_step() {
    let stage = Stage::new().await;
    let over = "[rule.slow]\ncodes = [421]\ntimes_an_hour = 3\nslow_to_per_minute = 60.0\nconnections = 1\nfor_seconds = 600.0";
    let rules = Rules::read(Some(over)).expect("rules");
    let rule = rules.adaptive("slow").expect("the rule");
    let count = || hits::count(&stage.pool, "provider:google", rule, 1, "421 slow down");
    assert_eq!((count().await.expect("counted"), count().await.expect("counted")), (false, false), "two are not three");
    let (a, b, c) = tokio::join!(count(), count(), count());
    let acted = [a, b, c].map(|one| u32::from(one.expect("counted"))).iter().sum::<u32>();
    assert_eq!(acted, 1);
    let state = async || destination::all(&stage.pool).await.expect("an answer")["provider:google"].clone();
    let ruled = state().await;
    assert_eq!((ruled.adaptive_rate, ruled.adaptive_connections, ruled.ruled), (Some(1.0), Some(1), true));
    let settings = &stage.settings.sending.slowdown;
    let good = destination::Window { accepted: 5, ..destination::Window::default() };
    assert_eq!(destination::judge(&good, Some(&ruled), settings), destination::Step::Stay, "not while the rule holds");
    stage.execute("UPDATE destinations SET hold_until = now() - interval '1 second'").await;
    let mut rates = Vec::new();
    for _ in 0..100 {
        let now = state().await;
        let Some(rate) = now.adaptive_rate else { break };
        rates.push(rate);
        stage.execute("UPDATE destinations SET updated_at = now() - interval '1 minute'").await;
        let step = destination::judge(&good, Some(&now), settings);
        destination::take(&stage.pool, "provider:google", step, None, settings).await.expect("taken");
    }
    assert!(rates.windows(2).all(|pair| (pair[1] - pair[0] - 1.0).abs() < 1e-9), "by the same step each time: {rates:?}");
    let end = state().await;
    assert_eq!((end.adaptive_rate, end.adaptive_connections), (None, None), "and then it is free: {rates:?}");
    assert!(!count().await.expect("counted"), "it counts anew");
}
