//! The Dockerfile.

use crate::files;

/// One instruction, its continuation lines joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// FROM, COPY, RUN …
    pub word: String,
    /// The rest.
    pub rest: String,
}

/// All instructions in order.
#[must_use]
pub fn instructions() -> Vec<Instruction> {
    let text = files::read("deploy/Dockerfile");
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty()).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let split = |line: &str| {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        Instruction { word: word.to_owned(), rest: rest.trim().to_owned() }
    };
    joined.lines().map(split).collect()
}

/// What is copied from the checkout: sources and where they go, in order.
#[must_use]
pub fn copies(instructions: &[Instruction]) -> Vec<(Vec<String>, String)> {
    let from_checkout = |instruction: &&Instruction| instruction.word == "COPY" && !instruction.rest.contains("--from=");
    instructions
        .iter()
        .filter(from_checkout)
        .map(|instruction| {
            let mut paths: Vec<String> =
                instruction.rest.split_whitespace().filter(|word| !word.starts_with("--")).map(str::to_owned).collect();
            let target = paths.pop().unwrap_or_default();
            (paths, target)
        })
        .collect()
}

/// What `ENV` sets.
#[must_use]
pub fn environment() -> Vec<(String, String)> {
    let all = instructions().into_iter().filter(|instruction| instruction.word == "ENV");
    all.flat_map(|instruction| {
        let pairs = instruction.rest.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>()
    })
    .collect()
}
