use std::process::Command;

use mochila_deploy_checks::{environment, files, image, settings};

use crate::programs;

/// Every service of compose.yaml gets all of `.env`: what is no setting must not keep a program from starting.
#[test]
fn the_programs_read_the_example_once_its_secrets_are_filled_in() {
    // A key of 32 bytes in base64; it serves as a password too.
    let secret = format!("{}=", "A".repeat(43));
    let mut variables = environment::example();
    variables.values_mut().filter(|value| value.is_empty()).for_each(|value| secret.clone_into(value));
    variables.extend(image::environment());
    // Nobody listens there: past its settings, each program ends because of that.
    variables.insert("MOCHILA_DATABASE__URL".to_owned(), "postgres://mochila@127.0.0.1:1/mochila".to_owned());
    for (program, command) in [("mochila-api", "migrate"), ("mochila-worker", "stuck")] {
        let output = Command::new(programs::path(program)).arg(command).env_clear().envs(&variables).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "{program} {command}: {said}");
        assert!(!said.contains("settings:"), "{program} {command}: {said}");
    }
}

#[test]
fn every_variable_that_a_file_names_is_a_setting() {
    let files = [
        "deploy/.env.example",
        "deploy/compose.yaml",
        "deploy/Dockerfile",
        "deploy/image/entrypoint",
        "deploy/image/healthcheck",
        "docs/RUNBOOK.md",
    ];
    for file in files {
        for name in settings::named_in(&files::read(file)) {
            assert!(settings::exists(&name), "{file} names {name}, which deploy/config.default.toml does not know");
        }
    }
    for (name, _) in image::environment() {
        assert!(settings::exists(&name), "deploy/Dockerfile sets {name}");
    }
}

#[test]
fn every_setting_that_a_deployment_must_give_stands_in_the_example() {
    let (required, example) = (settings::required(), environment::example());
    assert!(required.len() >= 5, "database, Redis and keys: {required:?}");
    for name in required {
        assert!(example.contains_key(&name), "deploy/.env.example does not name {name}");
    }
}

#[test]
fn what_the_example_leaves_empty_is_a_secret_and_says_how_to_make_it() {
    let text = files::read("deploy/.env.example");
    for (name, value) in environment::example() {
        let secret = ["KEY", "PASSWORD"].iter().any(|word| name.contains(word));
        assert_eq!(value.is_empty(), secret, "{name}: an example must hold no secret, and nothing else is left to guess");
        if secret {
            let above = text.split(&format!("\n{name}=")).next().expect("what stands before it");
            let paragraph = above.rsplit("\n\n").next().expect("its paragraph");
            assert!(paragraph.contains("openssl rand"), "nothing says how {name} is made");
        }
    }
}
