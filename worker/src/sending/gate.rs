//! How many messages to one destination this process sends at once. The claim counts over all workers, but a ticket that names its job is
//! not asked: a burst to a slow destination must not take every slot.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

/// The gate of a process.
#[derive(Clone, Default)]
pub struct Gate {
    inside: Arc<Mutex<HashMap<String, usize>>>,
}

/// Somebody who is inside.
pub struct Passed {
    gate: Gate,
    destination: String,
}

impl Gate {
    /// Lets one in while fewer than `most` are inside.
    #[must_use]
    pub fn pass(&self, destination: &str, most: usize) -> Option<Passed> {
        let mut inside = self.inside.lock();
        let count = inside.entry(destination.to_owned()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Passed { gate: self.clone(), destination: destination.to_owned() })
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        let mut inside = self.gate.inside.lock();
        if let Some(count) = inside.get_mut(&self.destination) {
            *count -= 1;
            if *count == 0 {
                inside.remove(&self.destination);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_pass_and_the_next_when_one_has_left() {
        let gate = Gate::default();
        let (first, second) = (gate.pass("slow.test", 2), gate.pass("slow.test", 2));
        assert!(first.is_some() && second.is_some() && gate.pass("slow.test", 2).is_none());
        assert!(gate.pass("other.test", 2).is_some());
        drop(first);
        assert!(gate.pass("slow.test", 2).is_some());
        drop(second);
        assert!(gate.inside.lock().is_empty());
    }
}
