use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use mochila_deploy_checks::{files, query, scrape::Scrape};
use serde_json::Value;

use crate::{alerts, house::House};

/// Every expression, with the file and the place that it comes from.
fn expressions() -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, rule) in alerts::all() {
        all.push((format!("alert {name}"), rule["expr"].as_str().expect("an expression").to_owned()));
    }
    for board in ["queue-health", "delivery"] {
        let json = files::json(&format!("deploy/grafana/{board}.json"));
        for panel in json["panels"].as_array().expect("panels") {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let place = format!("{board}: {}", panel["title"].as_str().expect("a title"));
                all.push((place, target["expr"].as_str().expect("an expression").to_owned()));
            }
        }
        for variable in json["templating"]["list"].as_array().expect("variables") {
            let ask = variable["query"]["query"].as_str().expect("a query");
            let inside = ask.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).expect("label_values");
            let (metric, label) = inside.split_once(", ").expect("a metric and a label");
            all.push((format!("{board}: variable {label}"), format!("sum by ({label}) ({metric})")));
        }
    }
    all
}

/// A worker that has met every outcome, an api that has answered, and a disk.
async fn live() -> Scrape {
    let house = House::new().await;
    // A relay that is not there: connections that fail, and a breaker.
    house.stage.route(1).await;
    let audience =
        [("orchard.test", 60), ("bounce.test", 5), ("reject.test", 5), ("greylist.test", 5), ("mute.test", 2), ("gmail.com", 5)];
    let campaign = house.stage.campaign(&audience).await.campaign_id;
    let (api, worker) = (house.api().await, house.worker().await);
    for path in ["/api/v1/health", "/api/v1/lists"] {
        reqwest::get(format!("http://{}{path}", api.address)).await.expect("an answer");
    }
    house.until_finished(campaign).await;
    assert!(house.sink.counts.stats().received > 0);
    // Replies are counted when their window closes.
    let mut page = worker.scrape().await;
    for _ in 0..100 {
        if page.contains("destination_replies_total{") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        page = worker.scrape().await;
    }
    let mut scrape = Scrape::default();
    scrape.add("worker", &page);
    scrape.add("api", &api.scrape().await);
    scrape.add("node", &node().await);
    scrape.add_synthetic("up", &["api", "worker", "node", "prometheus"]);
    scrape
}

/// What the node exporter of compose.yaml would answer, asked with the same options.
async fn node() -> String {
    let own = files::root().join(".local/tools/usr/bin/prometheus-node-exporter");
    let program = if own.is_file() { own } else { PathBuf::from("prometheus-node-exporter") };
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let compose = files::yaml("deploy/compose.yaml");
    let options = files::strings(&compose["services"]["node"]["command"]);
    let mut command = tokio::process::Command::new(&program);
    command.args(options.iter().filter(|option| !option.starts_with("--path.rootfs")));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}")).kill_on_drop(true).stderr(std::process::Stdio::null());
    let _exporter =
        command.spawn().unwrap_or_else(|error| panic!("{}: {error}: deploy/local test --servers fetches it", program.display()));
    for _ in 0..100 {
        if let Ok(answer) = reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await {
            return answer.text().await.expect("text");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{} does not answer", program.display());
}

/// Whether a label can have this value although the scrape did not meet it: it stands as a text in a source of the servers.
fn stands_in_a_source(value: &str) -> bool {
    fn search(folder: &Path, literal: &str) -> bool {
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).any(|path| {
            if path.is_dir() { search(&path, literal) } else { fs::read_to_string(&path).unwrap_or_default().contains(literal) }
        })
    }
    ["worker/src", "shared/src", "api/src"].iter().any(|room| search(&files::root().join(room), &format!("\"{value}\"")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_label_and_value_of_alerts_and_dashboards_is_in_a_live_scrape() {
    let scrape = live().await;
    let mut wrong = BTreeSet::new();
    for (place, expression) in expressions() {
        let query = query::read(&expression);
        assert!(!query.selectors.is_empty(), "{place}: {expression}");
        for selector in &query.selectors {
            let metric = &selector.metric;
            if !scrape.has(metric) {
                wrong.insert(format!("{place}: no metric {metric}"));
                continue;
            }
            for (label, operator, value) in &selector.matchers {
                let Some(values) = scrape.values(metric, label) else {
                    wrong.insert(format!("{place}: {metric} has no label {label}"));
                    continue;
                };
                let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                // Negations and patterns may name what is not there.
                if !operator.starts_with('=') || !value.split('|').all(plain) {
                    continue;
                }
                for one in value.split('|').filter(|one| !values.contains(*one) && !stands_in_a_source(one)) {
                    wrong.insert(format!("{place}: {metric} never has {label}=\"{one}\", only {values:?}"));
                }
            }
        }
        for label in &query.labels {
            let known = query.selectors.iter().any(|selector| scrape.values(&selector.metric, label).is_some());
            if !known {
                wrong.insert(format!("{place}: nothing in it has the label {label}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_panel_has_a_unit_a_sentence_and_a_place_of_its_own() {
    for board in ["queue-health", "delivery"] {
        let json = files::json(&format!("deploy/grafana/{board}.json"));
        let panels = json["panels"].as_array().expect("panels");
        let mut ids = BTreeSet::new();
        let mut cells = BTreeSet::new();
        for panel in panels {
            assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{board}: {panel}");
            let place = |side: &str| panel["gridPos"][side].as_u64().expect("a place");
            assert!(place("x") + place("w") <= 24, "{board}: {}", panel["title"]);
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    assert!(cells.insert((x, y)), "{board}: {} lies on another panel", panel["title"]);
                }
            }
            if panel["type"] != "row" {
                let defaults = &panel["fieldConfig"]["defaults"];
                assert!(
                    defaults["unit"].is_string() && panel["description"].as_str().is_some_and(|text| text.ends_with('.')),
                    "{}",
                    panel["title"]
                );
            }
        }
        let is_of_grafana_11 = json["schemaVersion"].as_u64() >= Some(39);
        assert!(is_of_grafana_11 && json["uid"].is_string() && json["refresh"] != Value::Null);
    }
}
