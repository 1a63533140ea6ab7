//! The settings, from their documented defaults.

use std::collections::{BTreeMap, BTreeSet};

use figment::{
    Figment,
    providers::{Format, Toml},
};
use serde_json::Value;
use shared::settings::NOT_SETTINGS;

use crate::files;

const DEFAULTS: &str = "deploy/config.default.toml";

/// Every setting as its variable, with its default.
///
/// # Panics
/// The file of defaults is malformed.
#[must_use]
pub fn all() -> BTreeMap<String, Value> {
    let tree: Value = Figment::from(Toml::string(&files::read(DEFAULTS))).extract().expect("the defaults are TOML");
    let mut found = BTreeMap::new();
    flatten("MOCHILA", "_", &tree, &mut found);
    found
}

fn flatten(path: &str, separator: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
    match value.as_object() {
        Some(table) => {
            for (name, value) in table {
                flatten(&format!("{path}{separator}{}", name.to_uppercase()), "__", value, found);
            }
        }
        None => {
            found.insert(path.to_owned(), value.clone());
        }
    }
}

/// Those that the file calls required.
#[must_use]
pub fn required() -> BTreeSet<String> {
    let mut section = String::new();
    let mut found = BTreeSet::new();
    for line in files::read(DEFAULTS).lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            name.clone_into(&mut section);
        } else if line.contains("# required")
            && let Some((name, _)) = line.split_once('=')
        {
            found.insert(format!("MOCHILA_{section}__{}", name.trim()).replace('.', "__").to_uppercase());
        }
    }
    found
}

/// `MOCHILA_…` names in a text.
#[must_use]
pub fn named_in(text: &str) -> BTreeSet<String> {
    let word =
        |part: &str| part.chars().take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_').collect::<String>();
    // "MOCHILA_…" and "MOCHILA_ and its path" speak of all of them.
    text.split("MOCHILA_").skip(1).map(word).filter(|name| !name.is_empty()).map(|name| format!("MOCHILA_{name}")).collect()
}

/// Whether a variable is a setting, or one of the few that are for others.
#[must_use]
pub fn exists(variable: &str) -> bool {
    let is_for_others = |name| NOT_SETTINGS.contains(&name);
    variable.strip_prefix("MOCHILA_").is_some_and(is_for_others) || all().contains_key(variable)
}
