use std::{collections::BTreeSet, path::Path};

use mochila_deploy_checks::{
    environment,
    files::{self, strings},
    image, settings,
};
use serde_json::{Map, Value};

use crate::programs;

fn compose() -> Value {
    files::yaml("deploy/compose.yaml")
}

fn services(compose: &Value) -> &Map<String, Value> {
    compose["services"].as_object().expect("services")
}

fn is_ours(service: &Value) -> bool {
    service["image"].as_str().is_some_and(|image| image.starts_with("mochila:"))
}

/// Runs until it is stopped: not a step before the servers, and not a tool that a person starts.
fn is_server(name: &str, service: &Value) -> bool {
    !["migrate", "bucket"].contains(&name) && !strings(&service["profiles"]).contains(&"tools".to_owned())
}

/// `45s`, `2m`.
fn seconds(value: &Value) -> u64 {
    let text = value.as_str().expect("a duration");
    let (number, unit) = text.split_at(text.len() - 1);
    number.parse::<u64>().expect("a number") * if unit == "m" { 60 } else { 1 }
}

/// The port of an address such as `0.0.0.0:8080` that the image gives to a setting.
fn image_port(variable: &str) -> String {
    let value = image::environment().into_iter().find(|(name, _)| name == variable).unwrap_or_else(|| panic!("{variable}")).1;
    value.rsplit(':').next().expect("a port").to_owned()
}

#[test]
fn it_has_every_part_and_each_is_pinned_bounded_and_restarted() {
    let compose = compose();
    for part in ["postgres", "redis", "api", "worker", "objects", "prometheus", "grafana", "mail", "migrate", "inbound"] {
        assert!(services(&compose).contains_key(part), "{part} is missing");
    }
    for (name, service) in services(&compose) {
        let image = service["image"].as_str().unwrap_or_else(|| panic!("{name} has no image"));
        let tag = image.rsplit_once(':').unwrap_or_else(|| panic!("{name}: {image} has no tag")).1;
        assert!(tag.chars().any(|c| c.is_ascii_digit()) && tag.contains('.'), "{name}: {image} is not pinned to a version");
        if is_server(name, service) {
            assert_eq!(service["restart"], "unless-stopped", "{name}");
            let limited = service["deploy"]["resources"]["limits"]["memory"].is_string() || name == "node";
            assert!(limited, "{name} has no memory limit");
        }
        if is_ours(service) {
            assert_eq!(service["read_only"], true, "{name}");
            assert_eq!(strings(&service["cap_drop"]), ["ALL"], "{name}");
            assert!(service["ulimits"]["nofile"].as_u64().is_some_and(|files| files >= 16_384), "{name}");
        }
    }
}

#[test]
fn the_commands_of_our_image_exist() {
    let compose = compose();
    let mut seen = BTreeSet::new();
    for (name, service) in services(&compose).iter().filter(|(_, service)| is_ours(service)) {
        let words = strings(&service["command"]);
        let (program, rest) = words.split_first().unwrap_or_else(|| panic!("{name} has no command"));
        assert!(["api", "worker"].contains(&program.as_str()), "{name}: {program}");
        programs::check(&format!("mochila-{program}"), rest);
        seen.insert(program.clone());
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    programs::check("mochila-api", &["create-admin".to_owned(), "--email".to_owned()]);
    // A program is its server when it is given no command.
    for program in ["mochila-api", "mochila-worker"] {
        assert!(programs::help(program, &[]).contains("Usage:"), "{program}");
    }
}

#[test]
fn every_variable_is_explained_in_the_example_and_every_example_is_used() {
    let example = environment::example();
    let text = files::read("deploy/compose.yaml");
    for name in environment::references(&text) {
        assert!(example.contains_key(&name), "compose.yaml wants ${{{name}}}, deploy/.env.example does not name it");
    }
    for (name, value) in &example {
        let used = name.starts_with("MOCHILA_") || text.contains(&format!("${{{name}"));
        assert!(used, "nothing uses {name}");
        for inner in environment::references(value) {
            assert!(example.contains_key(&inner), "{name} wants {inner}");
        }
    }
    let without_env_file = |(_, service): &(&String, &Value)| is_ours(service) && service["env_file"] != ".env";
    assert_eq!(services(&compose()).iter().filter(without_env_file).count(), 0);
}

#[test]
fn nothing_is_published_but_the_api_grafana_and_the_mail_catcher_on_loopback_and_for_whom_asks_bounces() {
    let compose = compose();
    let mut published = Vec::new();
    for (name, service) in services(&compose) {
        for port in strings(&service["ports"]) {
            let for_everybody = strings(&service["profiles"]) == ["bounces"];
            assert!(port.starts_with("127.0.0.1:") || for_everybody, "{name}: {port}");
            published.push((name.as_str(), port.rsplit(':').next().expect("a port").to_owned()));
        }
        let ours = strings(&service["networks"]);
        if ours == ["inside"] {
            assert!(service["ports"].is_null(), "{name}: what has no way out cannot be published");
        }
    }
    published.sort_unstable();
    let api = image_port("MOCHILA_API__LISTEN");
    let expected = [("api", api), ("grafana", "3000".to_owned()), ("inbound", "2525".to_owned()), ("mail", "8025".to_owned())];
    assert_eq!(published, expected);
    assert!(programs::help("mochila-worker", &[]).contains("0.0.0.0:2525"), "where --inbound listens");
    assert_eq!(compose["networks"]["inside"]["internal"], true);
}

#[test]
fn what_is_named_is_there() {
    let compose = compose();
    let folder = files::root().join("deploy");
    let mut mounted = BTreeSet::new();
    for (name, service) in services(&compose) {
        for mount in strings(&service["volumes"]) {
            let source = mount.split(':').next().expect("a source");
            if source.starts_with("./") {
                assert!(folder.join(source).exists(), "{name} mounts {source}");
            } else if !source.starts_with('/') && !source.starts_with("${") {
                assert!(compose["volumes"].as_object().expect("volumes").contains_key(source), "{name}: volume {source}");
                mounted.insert(source.to_owned());
            }
        }
        for network in strings(&service["networks"]) {
            assert!(compose["networks"].as_object().expect("networks").contains_key(&network), "{name}: network {network}");
        }
        for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
            let other_service = services(&compose).get(other).unwrap_or_else(|| panic!("{name} waits for {other}"));
            if how["condition"] == "service_healthy" {
                assert!(!other_service["healthcheck"].is_null(), "{name} waits until {other} is healthy, which it never says");
            }
        }
    }
    let declared: BTreeSet<String> = compose["volumes"].as_object().expect("volumes").keys().cloned().collect();
    assert_eq!(mounted, declared);
    let context = &compose["services"]["api"]["build"];
    let dockerfile =
        folder.join(context["context"].as_str().expect("a context")).join(context["dockerfile"].as_str().expect("a file"));
    assert!(dockerfile.is_file(), "{}", dockerfile.display());
}

#[test]
fn a_server_is_not_killed_before_it_has_recorded_what_it_did() {
    let compose = compose();
    let drain = settings::all()["MOCHILA_WORKER__DRAIN_SECONDS"].as_u64().expect("seconds");
    // After the drain: five seconds for what was on the wire, five for the ledger and the sign-off (worker/src/process.rs).
    let grace = seconds(&compose["services"]["worker"]["stop_grace_period"]);
    assert!(grace > drain + 10, "{grace} s for a drain of {drain} s");
    assert!(seconds(&compose["services"]["api"]["stop_grace_period"]) > 20, "requests may take 20 s to finish (api/src/serve.rs)");
    assert!(seconds(&compose["services"]["postgres"]["stop_grace_period"]) >= 60);
}

#[test]
fn the_addresses_of_the_example_are_those_of_the_compose_file() {
    let (compose, example) = (compose(), environment::example());
    let host = |variable: &str| {
        let rest = example[variable].split("//").nth(1).expect("an address").rsplit('@').next().expect("a host").to_owned();
        rest.split('/').next().expect("host and port").to_owned()
    };
    assert_eq!(host("MOCHILA_DATABASE__URL"), "postgres:5432");
    assert_eq!(host("MOCHILA_REDIS__URL"), "redis:6379");
    let objects = strings(&compose["services"]["objects"]["command"]).join(" ");
    assert_eq!(host("MOCHILA_STORE__S3_ENDPOINT"), "objects:7070");
    assert_eq!(host("MOCHILA_MAIL__RELAY_URL"), "mail:1025");
    assert!(strings(&compose["services"]["mail"]["command"]).join(" ").contains("--smtp 0.0.0.0:1025"));
    assert!(objects.contains("--port :7070"), "{objects}");
    let bucket = example["MOCHILA_STORE__URL"].strip_prefix("s3://").and_then(|rest| rest.split('/').next()).expect("a bucket");
    let made = strings(&compose["services"]["bucket"]["entrypoint"]).pop().expect("a folder");
    assert_eq!(Path::new(&made).file_name().expect("a name"), bucket);
    let redis = strings(&compose["services"]["redis"]["command"]).join(" ");
    assert!(redis.contains("--maxmemory-policy noeviction"), "an evicted rate bucket would be a burst: {redis}");
}

#[test]
fn prometheus_scrapes_the_ports_that_the_image_listens_on_and_grafana_asks_prometheus() {
    let compose = compose();
    let config = files::yaml("deploy/prometheus/prometheus.yml");
    let mut jobs = BTreeSet::new();
    for job in config["scrape_configs"].as_array().expect("jobs") {
        let name = job["job_name"].as_str().expect("a name");
        jobs.insert(name.to_owned());
        for found in job["dns_sd_configs"].as_array().into_iter().flatten() {
            assert_eq!(strings(&found["names"]), [name]);
            assert!(services(&compose).contains_key(name), "{name}");
            let port = image_port(&format!("MOCHILA_{}__METRICS_LISTEN", name.to_uppercase()));
            assert_eq!(found["port"].to_string(), port, "{name}");
        }
        for target in job["static_configs"].as_array().into_iter().flatten().flat_map(|config| strings(&config["targets"])) {
            let host = target.split(':').next().expect("a host");
            assert!(host == "localhost" || services(&compose).contains_key(host), "{target}");
        }
    }
    assert_eq!(jobs, ["api", "worker", "node", "prometheus"].map(str::to_owned).into());
    assert_eq!(strings(&config["rule_files"]), ["alerts.yml"]);

    let source = &files::yaml("deploy/grafana/provisioning/datasources/prometheus.yml")["datasources"][0];
    assert_eq!(source["url"], "http://prometheus:9090");
    let provider = &files::yaml("deploy/grafana/provisioning/dashboards/mochila.yml")["providers"][0];
    let folder = provider["options"]["path"].as_str().expect("a folder");
    let mounts = strings(&compose["services"]["grafana"]["volumes"]);
    for board in ["queue-health", "delivery"] {
        assert!(mounts.iter().any(|mount| mount.contains(&format!("{folder}/{board}.json"))), "{board}: {mounts:?}");
        let board = files::json(&format!("deploy/grafana/{board}.json"));
        assert_eq!(board["panels"][1]["datasource"]["uid"], source["uid"]);
    }
}

#[test]
fn the_example_trusts_the_gateway_of_what_is_published_and_nobody_else() {
    let compose = compose();
    let outside = &compose["networks"]["outside"]["ipam"]["config"][0];
    let trusted = &environment::example()["MOCHILA_API__TRUSTED_PROXIES"];
    assert_eq!(outside["gateway"], trusted.as_str());
    trusted.parse::<std::net::IpAddr>().expect("one address");
    assert!(strings(&services(&compose)["api"]["networks"]).contains(&"outside".to_owned()));
}
