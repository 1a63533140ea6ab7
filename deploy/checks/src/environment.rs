//! `.env.example`.

use std::collections::BTreeMap;

use crate::files;

/// Its variables with their values, `${…}` as it stands.
///
/// # Panics
/// A line is neither a comment nor NAME=VALUE.
#[must_use]
pub fn example() -> BTreeMap<String, String> {
    let text = files::read("deploy/.env.example");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("deploy/.env.example: {line}"));
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

/// Names in `${NAME}`, `${NAME:-default}` and `${NAME:?why}`.
#[must_use]
pub fn references(text: &str) -> Vec<String> {
    let name = |part: &str| part.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    text.split("${").skip(1).map(name).collect()
}
