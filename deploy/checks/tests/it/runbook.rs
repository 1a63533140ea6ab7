use std::collections::BTreeSet;

use mochila_deploy_checks::files;

use crate::programs;

/// Lines of code blocks and pieces of code in the text, without shell variables in front.
fn code(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if inside {
            found.push(line.split(" #").next().unwrap_or(line).trim().to_owned());
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

/// Words of a command of ours, after `mochila-api` or `mochila-worker` or after what compose calls them.
fn command(line: &str) -> Option<(String, Vec<String>)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| ["mochila-api", "mochila-worker"].contains(word))?;
    // A file such as /usr/local/bin/mochila-api is no command line.
    (at == 0 || words[at - 1] == "worker" || words[at - 1] == "api" || words[at - 1] == "--rm").then(|| {
        (
            words[at].to_owned(),
            words[at + 1..].iter().take_while(|word| !["|", ">", "&&"].contains(word)).map(|word| (*word).to_owned()).collect(),
        )
    })
}

#[test]
fn every_command_of_the_runbook_exists() {
    let runbook = files::read("docs/RUNBOOK.md");
    let mut seen = BTreeSet::new();
    for (program, words) in code(&runbook).iter().filter_map(|line| command(line)) {
        programs::check(&program, &words);
        seen.insert((program, words));
    }
    assert!(seen.len() >= 5, "{seen:?}");
}

#[test]
fn every_script_and_file_of_the_runbook_exists() {
    let runbook = files::read("docs/RUNBOOK.md");
    let trim = |word: &str| word.trim_end_matches([',', '.', ':', ')']).trim_start_matches('(').to_owned();
    for line in code(&runbook) {
        for word in line.split_whitespace().map(trim).filter(|word| word.starts_with("deploy/") && !word.contains('*')) {
            // Made by a deployment, never in the repository.
            if ["deploy/.env", "deploy/backups"].iter().any(|own| word == *own || word.starts_with(&format!("{own}/"))) {
                continue;
            }
            assert!(files::root().join(&word).exists(), "docs/RUNBOOK.md names {word}");
        }
    }
}

#[test]
fn every_link_within_the_runbook_leads_somewhere() {
    let runbook = files::read("docs/RUNBOOK.md");
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect::<String>()
    };
    let anchors: BTreeSet<String> =
        runbook.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#').trim())).collect();
    for link in runbook.split("](#").skip(1).map(|rest| rest.split(')').next().expect("a closed link")) {
        assert!(anchors.contains(link), "#{link}");
    }
}

#[test]
fn every_endpoint_of_the_runbook_exists() {
    let folder = files::root().join("api/src/routes");
    let sources: String = std::fs::read_dir(folder)
        .expect("the routes")
        .map(|entry| std::fs::read_to_string(entry.expect("an entry").path()).expect("text"))
        .collect();
    for line in code(&files::read("docs/RUNBOOK.md")) {
        let Some((method, path)) = line.split_once(" /api/v1") else { continue };
        let path = path.split(['?', ' ']).next().expect("a path");
        assert!(sources.contains(&format!("{path}\"")), "docs/RUNBOOK.md names {method} /api/v1{path}");
    }
}
