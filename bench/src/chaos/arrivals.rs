//! What arrived, from the logs of sinks: they outlive a sink that is killed.

use std::{collections::HashSet, path::Path};

use anyhow::{Context, Result};

/// A message that a sink took.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Unix milliseconds.
    pub at: u64,
    /// Its Message-ID.
    pub message_id: String,
    /// The recipient's domain.
    pub domain: String,
}

/// Reads a sink's log; a line that a kill has cut off does not count.
///
/// # Errors
/// The log cannot be read.
pub fn read(log: &Path) -> Result<Vec<Arrival>> {
    let text = std::fs::read_to_string(log).with_context(|| format!("failed to read {}", log.display()))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    Ok(whole.lines().filter_map(arrival).collect())
}

fn arrival(line: &str) -> Option<Arrival> {
    let mut parts = line.split('\t');
    let at = parts.next()?.parse().ok()?;
    let message_id = parts.next()?.to_owned();
    let domain = parts.next()?.rsplit_once('@')?.1.to_owned();
    Some(Arrival { at, message_id, domain })
}

/// Distinct messages, and those that came more than once.
#[must_use]
pub fn distinct(arrivals: &[Arrival]) -> (u64, u64) {
    let unique: HashSet<&str> = arrivals.iter().map(|arrival| arrival.message_id.as_str()).collect();
    (unique.len() as u64, (arrivals.len() - unique.len()) as u64)
}

/// The most messages in any stretch of so many milliseconds.
#[must_use]
pub fn most_within(milliseconds: u64, times: &mut [u64]) -> usize {
    times.sort_unstable();
    let mut first = 0;
    let mut most = 0;
    for (last, at) in times.iter().enumerate() {
        while at - times[first] >= milliseconds {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_stretch_counts_wherever_it_begins() {
        let mut times = [0, 900, 1_000, 1_100, 1_899, 1_900, 5_000];
        assert_eq!(most_within(1_000, &mut times), 4);
        assert_eq!(most_within(1_000, &mut []), 0);
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_count() {
        let file = std::env::temp_dir().join(format!("arrivals-{}", uuid::Uuid::now_v7()));
        std::fs::write(&file, "1\ta@x\tr@b.test\n2\ta@x\tr@b.test\n3\tc@x\tr@").expect("written");
        let arrivals = read(&file).expect("read");
        std::fs::remove_file(&file).expect("removed");
        assert_eq!((arrivals.len(), distinct(&arrivals)), (2, (1, 1)));
    }
}
