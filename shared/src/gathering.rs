//! Look-ups that are asked for at the same moment, in one statement: whoever comes while a statement is under way goes with the next one.
//!
//! Nothing is kept: an answer was read after it was asked for. A lone question is a statement of its own and waits for nobody; under load
//! hundreds share one, and PostgreSQL wakes once where it would have woken for each. A statement that takes long holds nobody up: after
//! [`PATIENCE`] the next one goes beside it.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// How long those who come later wait for the statement that is under way. Each takes well below a millisecond.
const PATIENCE: Duration = Duration::from_millis(10);
/// Statements that may be late at once: with all of them late, whoever comes waits for one.
const LATE: usize = 3;
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
    patience: Duration,
    queue: Mutex<Queue<K, V>>,
}

struct Queue<K, V> {
    asks: Vec<Ask<K, V>>,
    /// Runs whose statement is in time: one, or for a moment more.
    running: usize,
    /// Runs whose statement is late.
    late: usize,
}

impl<K, V> Queue<K, V> {
    /// Whether another run begins; it counts from now on.
    fn begins(&mut self) -> bool {
        let begins = !self.asks.is_empty() && self.running == 0 && self.late < LATE;
        self.running += usize::from(begins);
        begins
    }
}

/// A run, as the queue counts it. It is counted off even when the look-up panics.
struct Run<K, V> {
    inner: Arc<Inner<K, V>>,
    late: bool,
    counted_off: bool,
}

impl<K, V> Run<K, V> {
    fn new(inner: Arc<Inner<K, V>>) -> Self {
        Self { inner, late: false, counted_off: false }
    }

    /// The next keys; counts itself off where nobody asks or another run is there for them, under the same lock, so that nobody who asks
    /// then is left waiting.
    fn next(&mut self) -> Option<Vec<Ask<K, V>>> {
        let mut queue = self.inner.queue.lock();
        if std::mem::take(&mut self.late) {
            queue.late -= 1;
            queue.running += 1;
        }
        if queue.asks.is_empty() || queue.running > 1 {
            queue.running -= 1;
            self.counted_off = true;
            return None;
        }
        let some = queue.asks.len().min(MOST);
        Some(queue.asks.drain(..some).collect())
    }

    /// Its statement is late. Answers whether another run begins.
    fn is_late(&mut self) -> bool {
        let mut queue = self.inner.queue.lock();
        self.late = true;
        queue.running -= 1;
        queue.late += 1;
        queue.begins()
    }
}

impl<K, V> Drop for Run<K, V> {
    fn drop(&mut self) {
        if self.counted_off {
            return;
        }
        let mut queue = self.inner.queue.lock();
        if self.late {
            queue.late -= 1
        } else {
            queue.running -= 1
        }
        if queue.running == 0 {
            // A panic: nobody is there for those who wait. Their look-up ends without an answer.
            queue.asks.clear();
        }
    }
}

impl<K: Copy + Eq + Hash + Send + 'static, V: Clone + Send + 'static> Gathering<K, V> {
    /// `look` answers for those of its keys that there are.
    #[must_use]
    pub fn new(look: impl Fn(Vec<K>) -> BoxFuture<'static, Result<HashMap<K, V>>> + Send + Sync + 'static) -> Self {
        Self::with_patience(PATIENCE, look)
    }

    fn with_patience(
        patience: Duration,
        look: impl Fn(Vec<K>) -> BoxFuture<'static, Result<HashMap<K, V>>> + Send + Sync + 'static,
    ) -> Self {
        let queue = Mutex::new(Queue { asks: Vec::new(), running: 0, late: 0 });
        Self { inner: Arc::new(Inner { look: Box::new(look), patience, queue }) }
    }

    /// What there is under this key, read after this call began.
    ///
    /// # Errors
    /// The look-up failed.
    pub async fn get(&self, key: K) -> Result<Option<V>> {
        let (sender, receiver) = oneshot::channel();
        let begins = {
            let mut queue = self.inner.queue.lock();
            queue.asks.push((key, sender));
            queue.begins()
        };
        if begins {
            begin(self.inner.clone());
        }
        receiver.await.unwrap_or_else(|_| Err(Error::internal("a look-up ended without an answer")))
    }
}

fn begin<K: Copy + Eq + Hash + Send + 'static, V: Clone + Send + 'static>(inner: Arc<Inner<K, V>>) {
    tokio::spawn(run(Run::new(inner)));
}

async fn run<K: Copy + Eq + Hash + Send + 'static, V: Clone + Send + 'static>(mut run: Run<K, V>) {
    while let Some(asks) = run.next() {
        let keys: HashSet<K> = asks.iter().map(|(key, _)| *key).collect();
        let mut look = (run.inner.look)(keys.into_iter().collect());
        let answer = match tokio::time::timeout(run.inner.patience, &mut look).await {
            Ok(answer) => answer,
            Err(_) => {
                if run.is_late() {
                    begin(run.inner.clone());
                }
                look.await
            }
        };
        match answer {
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
    fn doubles(gate: Arc<Semaphore>, patience: Duration) -> (Gathering<u32, u32>, Said) {
        let said = Said::default();
        let seen = said.clone();
        let gathering =
            Gathering::with_patience(patience, move |mut keys: Vec<u32>| -> BoxFuture<'static, Result<HashMap<u32, u32>>> {
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

    /// Nothing is late.
    const ENDLESS: Duration = Duration::from_secs(3600);
    /// What does not answer at once is late.
    const NONE: Duration = Duration::ZERO;

    /// Asks, and returns once so many statements were begun and so many wait for the next one.
    async fn ask(
        gathering: &Gathering<u32, u32>,
        said: &Said,
        key: u32,
        statements: usize,
        waiting: usize,
    ) -> tokio::task::JoinHandle<Result<Option<u32>>> {
        let inner = gathering.inner.clone();
        let asking = gathering.clone();
        let ask = tokio::spawn(async move { asking.get(key).await });
        while said.lock().len() != statements || inner.queue.lock().asks.len() != waiting {
            tokio::task::yield_now().await;
        }
        ask
    }

    #[tokio::test]
    async fn who_comes_while_a_statement_is_under_way_shares_the_next_one() {
        let gate = Arc::new(Semaphore::new(0));
        let (gathering, said) = doubles(gate.clone(), ENDLESS);
        let mut asks = Vec::new();
        for (key, waiting) in [(2, 0), (6, 1), (8, 2), (6, 3), (9, 4)] {
            asks.push(ask(&gathering, &said, key, 1, waiting).await);
        }
        gate.add_permits(2);
        let mut answers = Vec::new();
        for ask in asks {
            answers.push(ask.await.expect("no panic").expect("an answer"));
        }
        assert_eq!(answers, [Some(4), Some(12), Some(16), Some(12), None]);
        assert_eq!(*said.lock(), [vec![2], vec![6, 8, 9]]);
        gathering.until(0, 0).await;
    }

    #[tokio::test]
    async fn statements_that_are_late_hold_nobody_up_until_all_are_late() {
        let gate = Arc::new(Semaphore::new(0));
        let (gathering, said) = doubles(gate.clone(), NONE);
        let mut asks = Vec::new();
        for (key, statements) in [(2, 1), (4, 2), (6, 3)] {
            asks.push(ask(&gathering, &said, key, statements, 0).await);
            gathering.until(0, statements).await;
        }
        for (key, waiting) in [(8, 1), (10, 2)] {
            asks.push(ask(&gathering, &said, key, LATE, waiting).await);
        }
        gate.add_permits(4);
        for (ask, key) in asks.into_iter().zip([2, 4, 6, 8, 10]) {
            assert_eq!(ask.await.expect("no panic").expect("an answer"), Some(2 * key));
        }
        assert_eq!(*said.lock(), [vec![2], vec![4], vec![6], vec![8, 10]]);
        gathering.until(0, 0).await;
    }

    #[tokio::test]
    async fn who_waits_for_a_late_statement_is_served_beside_it_without_anybody_asking_again() {
        let gate = Arc::new(Semaphore::new(0));
        let (gathering, said) = doubles(gate.clone(), Duration::from_millis(20));
        let first = ask(&gathering, &said, 2, 1, 0).await;
        let second = tokio::spawn({
            let gathering = gathering.clone();
            async move { gathering.get(4).await }
        });
        gathering.until(0, 2).await;
        assert_eq!(*said.lock(), [vec![2], vec![4]]);
        gate.add_permits(2);
        assert_eq!(first.await.expect("no panic").expect("an answer"), Some(4));
        assert_eq!(second.await.expect("no panic").expect("an answer"), Some(8));
        gathering.until(0, 0).await;
    }

    #[tokio::test]
    async fn a_failure_is_everybodys_and_a_panic_leaves_the_way_open() {
        let gate = Arc::new(Semaphore::new(0));
        let (gathering, said) = doubles(gate.clone(), ENDLESS);
        gate.add_permits(1);
        assert!(gathering.get(7).await.is_err());
        for statements in 0..=LATE {
            let panics = ask(&gathering, &said, 13, 2 + statements, 0).await;
            let waits = ask(&gathering, &said, 2, 2 + statements, 1).await;
            gate.add_permits(1);
            assert!(panics.await.expect("no panic").is_err());
            assert!(waits.await.expect("no panic").is_err(), "nobody is left waiting");
        }
        gate.add_permits(1);
        assert_eq!(gathering.get(2).await.expect("an answer"), Some(4));
    }

    impl Gathering<u32, u32> {
        /// Returns once so many runs are in time and so many are late.
        async fn until(&self, running: usize, late: usize) {
            let now = || {
                let queue = self.inner.queue.lock();
                (queue.running, queue.late)
            };
            while now() != (running, late) {
                tokio::task::yield_now().await;
            }
        }
    }
}
