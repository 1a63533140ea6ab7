//! Medians, and how figures are told: a heading, tables that can be pasted into a document, and a JSON file.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

use super::machine::Machine;

/// What a reader must know beside the figures.
#[derive(Clone, Debug, Serialize)]
pub struct Conditions {
    /// What was measured.
    pub bench: &'static str,
    /// Where.
    pub machine: Machine,
    /// With which versions.
    pub versions: String,
    /// With which settings.
    pub settings: String,
}

#[derive(Serialize)]
struct Document<'a, T> {
    #[serde(flatten)]
    conditions: &'a Conditions,
    figures: &'a T,
}

impl Conditions {
    /// Prints them above the figures.
    pub fn print(&self) {
        println!("\n## {}\n", self.bench);
        let Machine { processor, cores, memory_gib, kernel } = &self.machine;
        println!("- machine: {processor}, {cores} cores, {memory_gib} GiB, kernel {kernel}");
        println!("- versions: {}", self.versions);
        println!("- settings: {}\n", self.settings);
    }

    /// Writes conditions and figures.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write<T: Serialize>(&self, json: Option<&PathBuf>, figures: &T) -> Result<()> {
        let Some(path) = json else { return Ok(()) };
        let text = serde_json::to_string_pretty(&Document { conditions: self, figures })?;
        std::fs::write(path, text + "\n").with_context(|| format!("failed to write {}", path.display()))
    }
}

/// The middle of `values`; of an even number the mean of the two in the middle; of none 0.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count => f64::midpoint(sorted[(count - 1) / 2], sorted[count / 2]),
    }
}

/// The value below which `share` (0 to 1) of the sorted `values` lie; of none 0.
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0.0)
}

/// A row of a table.
pub fn row<I: IntoIterator<Item = S>, S: AsRef<str>>(cells: I) {
    let cells: Vec<String> = cells.into_iter().map(|cell| cell.as_ref().to_owned()).collect();
    println!("| {} |", cells.join(" | "));
}

/// The head of a table.
pub fn head(names: &[&str]) {
    row(names);
    println!("|{}", "---|".repeat(names.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median([]).abs() < 1e-9);
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert!((quantile(&values, 0.5) - 100.0).abs() < 1e-9);
        assert!((quantile(&values, 0.99) - 198.0).abs() < 1e-9);
        assert!((quantile(&[7.0], 0.01) - 7.0).abs() < 1e-9);
        assert!(quantile(&[], 0.5).abs() < 1e-9);
    }
}
