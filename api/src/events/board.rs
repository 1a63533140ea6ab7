//! One task looks at everything that is watched, while somebody watches; a watcher gets the newest sight and never a backlog.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use shared::{clock::Clock, error::Result};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use uuid::Uuid;

/// A look takes a twentieth of the time at most; the rest is for other work.
const SHARE: u32 = 20;

/// What a look has seen of one thing.
#[derive(Debug)]
pub struct Sight<T> {
    /// The thing.
    pub item: Arc<T>,
    /// Another one for whatever is told differently.
    pub mark: u64,
    /// Whether nothing more will happen to it.
    pub over: bool,
}

/// A sight, and when it was new.
#[derive(Debug)]
pub struct Seen<T> {
    /// What was seen.
    pub sight: Sight<T>,
    /// Microseconds of the epoch, growing with each change.
    pub at: i64,
    /// When the look began that saw it last.
    pub looked: Instant,
}

impl<T> Clone for Seen<T> {
    fn clone(&self) -> Self {
        let Sight { item, mark, over } = &self.sight;
        Self { sight: Sight { item: item.clone(), mark: *mark, over: *over }, at: self.at, looked: self.looked }
    }
}

type Look<T> = Box<dyn Fn(Vec<Uuid>) -> BoxFuture<'static, Result<Vec<(Uuid, Sight<T>)>>> + Send + Sync>;

/// What is watched.
pub struct Board<T> {
    every: Duration,
    clock: Clock,
    look: Look<T>,
    wake: Notify,
    state: Mutex<State<T>>,
}

struct State<T> {
    watched: HashMap<Uuid, Watched<T>>,
    running: bool,
}

struct Watched<T> {
    sender: watch::Sender<Option<Seen<T>>>,
    /// When somebody came who has not seen anything yet.
    fresh: Option<Instant>,
}

impl<T: Send + Sync + 'static> Board<T> {
    /// Looks by `look`, which leaves out what is not there.
    pub fn new(
        every: Duration,
        clock: &Clock,
        look: impl Fn(Vec<Uuid>) -> BoxFuture<'static, Result<Vec<(Uuid, Sight<T>)>>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let state = Mutex::new(State { watched: HashMap::new(), running: false });
        Arc::new(Self { every, clock: clock.clone(), look: Box::new(look), wake: Notify::new(), state })
    }

    /// Watches `id` until the receiver is dropped. It is closed when the thing is gone.
    pub fn watch(self: &Arc<Self>, id: Uuid) -> watch::Receiver<Option<Seen<T>>> {
        let mut state = self.state.lock();
        let watched = state.watched.entry(id).or_insert_with(|| Watched { sender: watch::Sender::new(None), fresh: None });
        watched.fresh = Some(Instant::now());
        let receiver = watched.sender.subscribe();
        if !std::mem::replace(&mut state.running, true) {
            tokio::spawn(self.clone().run());
        }
        self.wake.notify_one();
        receiver
    }

    /// Things that somebody watches.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.state.lock().watched.values().filter(|watched| watched.sender.receiver_count() > 0).count()
    }

    async fn run(self: Arc<Self>) {
        loop {
            let Some(ids) = self.next() else { return };
            let looked = Instant::now();
            match (self.look)(ids.clone()).await {
                Ok(seen) => self.tell(&ids, seen, looked),
                Err(error) => tracing::warn!(error.full = %error, "what is watched could not be looked at"),
            }
            let taken = looked.elapsed();
            // Whoever has just come need not wait for the next round, but the share holds.
            tokio::time::sleep(taken * 4).await;
            tokio::select! {
                () = tokio::time::sleep(self.every.max(taken * (SHARE - 4))) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// What to look at; nothing when nobody watches any more, and then the task is over.
    fn next(&self) -> Option<Vec<Uuid>> {
        let mut state = self.state.lock();
        state.watched.retain(|_, watched| watched.sender.receiver_count() > 0);
        state.running = !state.watched.is_empty();
        state.running.then(|| state.watched.keys().copied().collect())
    }

    fn tell(&self, asked: &[Uuid], seen: Vec<(Uuid, Sight<T>)>, looked: Instant) {
        let mut state = self.state.lock();
        let mut seen: HashMap<Uuid, Sight<T>> = seen.into_iter().collect();
        let now = self.clock.now().timestamp_micros();
        for id in asked {
            let Some(sight) = seen.remove(id) else {
                state.watched.remove(id);
                continue;
            };
            let Some(watched) = state.watched.get_mut(id) else { continue };
            // A look that began before somebody came may be older than what they saw elsewhere: they get the next one.
            let fresh = watched.fresh.take_if(|since| looked >= *since).is_some();
            watched.sender.send_if_modified(|value| {
                let before = value.as_ref().map(|seen| (seen.at, seen.sight.mark));
                let changed = before.is_none_or(|(_, mark)| mark != sight.mark);
                let at = match before {
                    Some((at, _)) if changed => now.max(at + 1),
                    Some((at, _)) => at,
                    None => now,
                };
                *value = Some(Seen { sight, at, looked });
                changed || fresh
            });
        }
    }
}
