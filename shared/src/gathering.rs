//! Look-ups that are asked for at the same moment, in one statement: whoever comes while a statement is under way goes with the next one.
//!
//! Nothing is kept: an answer was read after it was asked for. A lone question is a statement of its own and waits for nobody; under load
//! hundreds share one, and PostgreSQL wakes once where it would have woken for each.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// Statements under way at once: one that takes long must not hold up all the others.
const LANES: usize = 2;
/// Keys of one statement.
const MOST: usize = 500;

type Look<K, V> = Box<dyn Fn(Vec<K>) -> BoxFuture<'static, Result<HashMap<K, V>>> + Send + Sync>;
type Ask<K, V> = (K, oneshot::Sender<Result<Option<V>>>);

/// Look-ups of one kind.
pub struct Gathering<K, V> {
    inner: Arc<Inner<K, V>>,
}

impl<K, V> Clone for Gathering<K, V> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

struct Inner<K, V> {
    look: Look<K, V>,
    queue: Mutex<Queue<K, V>>,
}

struct Queue<K, V> {
    asks: Vec<Ask<K, V>>,
    lanes: usize,
}

/// A place among [`LANES`]. It is given back even when the look-up panics.
struct Lane<K, V> {
    inner: Arc<Inner<K, V>>,
    given_back: bool,
}

impl<K, V> Lane<K, V> {
    /// The next keys; gives the lane back where nobody asks, under the same lock, so that nobody who asks then is left waiting.
    fn next(&mut self) -> Option<Vec<Ask<K, V>>> {
        let mut queue = self.inner.queue.lock();
        if queue.asks.is_empty() {
            queue.lanes -= 1;
            self.given_back = true;
            return None;
        }
        let some = queue.asks.len().min(MOST);
        Some(queue.asks.drain(..some).collect())
    }
}

impl<K, V> Drop for Lane<K, V> {
    fn drop(&mut self) {
        if !self.given_back {
            self.inner.queue.lock().lanes -= 1;
        }
    }
}

impl<K: Copy + Eq + Hash + Send + 'static, V: Clone + Send + 'static> Gathering<K, V> {
    /// `look` answers for those of its keys that there are.
    #[must_use]
    pub fn new(look: impl Fn(Vec<K>) -> BoxFuture<'static, Result<HashMap<K, V>>> + Send + Sync + 'static) -> Self {
        let queue = Mutex::new(Queue { asks: Vec::new(), lanes: 0 });
        Self { inner: Arc::new(Inner { look: Box::new(look), queue }) }
    }

    /// What there is under this key, read after this call began.
    ///
    /// # Errors
    /// The look-up failed.
    pub async fn get(&self, key: K) -> Result<Option<V>> {
        let (sender, receiver) = oneshot::channel();
        let free = {
            let mut queue = self.inner.queue.lock();
            queue.asks.push((key, sender));
            let free = queue.lanes < LANES;
            queue.lanes += usize::from(free);
            free
        };
        if free {
            tokio::spawn(run(Lane { inner: self.inner.clone(), given_back: false }));
        }
        receiver.await.unwrap_or_else(|_| Err(Error::internal("a look-up ended without an answer")))
    }
}

async fn run<K: Copy + Eq + Hash, V: Clone>(mut lane: Lane<K, V>) {
    while let Some(asks) = lane.next() {
        let keys: HashSet<K> = asks.iter().map(|(key, _)| *key).collect();
        match (lane.inner.look)(keys.into_iter().collect()).await {
            Ok(found) => {
                for (key, asker) in asks {
                    // Whoever has gone meanwhile needs no answer.
                    let _ = asker.send(Ok(found.get(&key).cloned()));
                }
            }
            Err(error) => {
                let mut error = Some(error);
                for (_, asker) in asks {
                    let same = error.take().unwrap_or_else(|| Error::internal("a look-up failed that others shared"));
                    let _ = asker.send(Err(same));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    /// The keys of each statement.
    type Said = Arc<Mutex<Vec<Vec<u32>>>>;

    /// Answers the doubles of even keys, once it is let.
    fn doubles(gate: Arc<Semaphore>) -> (Gathering<u32, u32>, Said) {
        let said = Said::default();
        let seen = said.clone();
        let gathering = Gathering::new(move |mut keys: Vec<u32>| -> BoxFuture<'static, Result<HashMap<u32, u32>>> {
            keys.sort_unstable();
            seen.lock().push(keys.clone());
            let gate = gate.clone();
            Box::pin(async move {
                gate.acquire().await.map_err(Error::internal)?.forget();
                assert!(!keys.contains(&13), "a panic");
                if keys.contains(&7) {
                    return Err(Error::internal("seven"));
                }
                Ok(keys.into_iter().filter(|key| key % 2 == 0).map(|key| (key, key * 2)).collect())
            })
        });
        (gathering, said)
    }

    #[tokio::test]
    async fn who_comes_while_statements_are_under_way_shares_the_next_one() {
        let gate = Arc::new(Semaphore::new(0));
        let (gathering, said) = doubles(gate.clone());
        let mut asks = Vec::new();
        for (key, statements, waiting) in [(2, 1, 0), (4, 2, 0), (6, 2, 1), (8, 2, 2), (6, 2, 3), (9, 2, 4)] {
            let gathering = gathering.clone();
            let inner = gathering.inner.clone();
            asks.push(tokio::spawn(async move { gathering.get(key).await }));
            while said.lock().len() != statements || inner.queue.lock().asks.len() != waiting {
                tokio::task::yield_now().await;
            }
        }
        gate.add_permits(3);
        let mut answers = Vec::new();
        for ask in asks {
            answers.push(ask.await.expect("no panic").expect("an answer"));
        }
        assert_eq!(answers, [Some(4), Some(8), Some(12), Some(16), Some(12), None]);
        assert_eq!(*said.lock(), [vec![2], vec![4], vec![6, 8, 9]]);
        assert_eq!(gathering.inner.queue.lock().lanes, 0);
    }

    #[tokio::test]
    async fn a_failure_is_everybodys_and_a_panic_leaves_the_lanes_open() {
        let gate = Arc::new(Semaphore::new(10));
        let (gathering, _) = doubles(gate);
        assert!(gathering.get(7).await.is_err());
        for _ in 0..LANES + 1 {
            assert!(gathering.get(13).await.is_err());
        }
        assert_eq!(gathering.get(2).await.expect("an answer"), Some(4));
    }
}
