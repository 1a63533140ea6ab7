//! The files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// The checkout.
///
/// # Panics
/// This crate does not lie at `deploy/checks`.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("two folders above").to_owned()
}

/// A file's text; the path is from the checkout's root.
///
/// # Panics
/// It cannot be read.
#[must_use]
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A YAML file, with its anchors and merge keys resolved.
///
/// # Panics
/// It is malformed.
#[must_use]
pub fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A JSON file.
///
/// # Panics
/// It is malformed.
#[must_use]
pub fn json(path: &str) -> Value {
    serde_json::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The texts of an array; empty if it is none.
#[must_use]
pub fn strings(value: &Value) -> Vec<String> {
    let text = |item: &Value| item.as_str().map_or_else(|| item.to_string(), str::to_owned);
    value.as_array().map(|items| items.iter().map(text).collect()).unwrap_or_default()
}
