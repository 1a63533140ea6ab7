//! The programs of this build, and what their `--help` says.

use std::{path::PathBuf, process::Command};

/// A program of the same build as this test.
pub fn path(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test's own path");
    let path = test.ancestors().nth(2).expect("target/debug").join(name);
    assert!(path.is_file(), "{} is missing: test the whole workspace (cargo test --workspace), which builds it", path.display());
    path
}

/// The help of a command, which must exist: `mochila-api` with `["create-admin"]`.
pub fn help(program: &str, command: &[&str]) -> String {
    let output = Command::new(path(program)).args(command).arg("--help").output().expect("it starts");
    assert!(output.status.success(), "{program} {} is no command: {}", command.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Checks words as they would be typed after the program's name: subcommands and flags must be in its help. Answers the subcommand.
pub fn check(program: &str, words: &[String]) {
    let mut command: Vec<&str> = Vec::new();
    let mut text = help(program, &[]);
    for word in words {
        let listed = |text: &str| {
            text.lines().any(|line| line.trim_start().split(' ').next() == Some(word.as_str()) && line.starts_with("  "))
        };
        if let Some(flag) = word.strip_prefix("--") {
            let flag = flag.split('=').next().unwrap_or(flag);
            assert!(text.contains(&format!("--{flag}")), "{program} {} has no --{flag}:\n{text}", command.join(" "));
        } else if listed(&text) {
            command.push(word);
            text = help(program, &command);
        } else {
            assert!(!command.is_empty() || words[0].starts_with("--"), "{program} has no command {word}:\n{text}");
        }
    }
}
