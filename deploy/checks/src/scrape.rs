//! What `/metrics` answers: the text format of Prometheus.

use std::collections::{BTreeMap, BTreeSet};

/// Samples by name: the values that each of their labels has.
#[derive(Clone, Debug, Default)]
pub struct Scrape(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Scrape {
    /// Adds a page; `job` becomes a label, as Prometheus does it.
    pub fn add(&mut self, job: &str, page: &str) {
        for line in page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, labels) = match line.split_once('{') {
                Some((name, rest)) => (name, rest.rsplit_once('}').map_or("", |(labels, _)| labels)),
                None => (line.split(' ').next().unwrap_or(line), ""),
            };
            let found = self.0.entry(name.to_owned()).or_default();
            let own = [("job", job), ("instance", "")];
            for (label, value) in own.into_iter().chain(pairs(labels)) {
                found.entry(label.to_owned()).or_default().insert(value.to_owned());
            }
        }
    }

    /// A series that Prometheus makes by itself.
    pub fn add_synthetic(&mut self, name: &str, jobs: &[&str]) {
        for job in jobs {
            self.add(job, &format!("{name} 1\n"));
        }
    }

    /// Whether there is such a sample.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The values of a label of a sample; `None`: it has no such label.
    #[must_use]
    pub fn values(&self, name: &str, label: &str) -> Option<&BTreeSet<String>> {
        self.0.get(name)?.get(label)
    }
}

/// `a="1",b="2"`; the values of our own metrics hold no quotes.
fn pairs(labels: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = labels;
    std::iter::from_fn(move || {
        let (label, after) = rest.trim_start_matches(',').split_once("=\"")?;
        let (value, after) = after.split_once('"')?;
        rest = after;
        Some((label, value))
    })
}
