//! One look-up at a time for each question: whoever asks the same meanwhile waits for its answer.

use std::{collections::HashMap, hash::Hash};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use parking_lot::Mutex;

/// Entries of which all askers have gone are swept out when there are more than this.
const SWEEP_FROM: usize = 1024;

type Flight<T> = BoxFuture<'static, T>;

/// What is being asked now.
pub struct Flights<K, T: Clone>(Mutex<HashMap<K, WeakShared<Flight<T>>>>);

impl<K, T: Clone> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Clone + Eq + Hash, T: Clone + Send + Sync + 'static> Flights<K, T> {
    /// Waits for the look-up of this key that is under way, or begins one. It goes on while anybody waits, whoever began it.
    pub async fn join(&self, key: K, begin: impl FnOnce() -> Flight<T>) -> T {
        let flight = self.enter(&key, begin);
        let answer = flight.clone().await;
        let mut flights = self.0.lock();
        // Another one may have begun since: it is left alone.
        if flights.get(&key).and_then(WeakShared::upgrade).is_none_or(|other| other.ptr_eq(&flight)) {
            flights.remove(&key);
        }
        answer
    }

    fn enter(&self, key: &K, begin: impl FnOnce() -> Flight<T>) -> Shared<Flight<T>> {
        let mut flights = self.0.lock();
        if let Some(flight) = flights.get(key).and_then(WeakShared::upgrade) {
            return flight;
        }
        if flights.len() > SWEEP_FROM {
            flights.retain(|_, flight| flight.upgrade().is_some());
        }
        let flight = begin().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(key.clone(), weak);
        }
        flight
    }
}
