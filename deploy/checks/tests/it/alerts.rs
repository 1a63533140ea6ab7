use std::collections::BTreeMap;

use mochila_deploy_checks::files;
use serde_json::Value;

/// Name and rule of every alert.
pub fn all() -> Vec<(String, Value)> {
    let rules = files::yaml("deploy/prometheus/alerts.yml");
    let groups = rules["groups"].as_array().expect("groups").clone();
    let all = groups.into_iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default());
    all.map(|rule| (rule["alert"].as_str().expect("a name").to_owned(), rule)).collect()
}

#[test]
fn every_alert_says_what_is_wrong_and_leads_to_its_section_of_the_runbook() {
    let runbook = files::read("docs/RUNBOOK.md");
    for (name, rule) in all() {
        assert!(["page", "ticket"].contains(&rule["labels"]["severity"].as_str().unwrap_or_default()), "{name}: severity");
        assert!(rule["annotations"]["summary"].as_str().is_some_and(|text| text.len() > 20), "{name}: summary");
        assert_eq!(rule["annotations"]["runbook_url"], format!("docs/RUNBOOK.md#{}", name.to_lowercase()));
        assert!(runbook.contains(&format!("\n### {name}\n")), "docs/RUNBOOK.md has no section {name}");
    }
}

#[test]
fn every_alert_is_seen_to_fire_and_to_stay_quiet() {
    let mut seen: BTreeMap<String, (bool, bool)> = all().into_iter().map(|(name, _)| (name, (false, false))).collect();
    let tests = files::yaml("deploy/prometheus/alerts.test.yml");
    for test in tests["tests"].as_array().expect("tests") {
        for look in test["alert_rule_test"].as_array().expect("what is looked at") {
            let name = look["alertname"].as_str().expect("a name");
            let (fires, quiet) = seen.get_mut(name).unwrap_or_else(|| panic!("there is no alert {name}"));
            match look["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty()) {
                true => *fires = true,
                false => *quiet = true,
            }
        }
    }
    for (name, both) in seen {
        assert_eq!(both, (true, true), "{name}: (fires, stays quiet)");
    }
}
