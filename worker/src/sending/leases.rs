//! Leases of connections: how many a route or a destination may have over all processes. A sorted set in Redis each, scored with the
//! time at which the lease ends; Redis' own clock.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use redis::Script;
use shared::{PgPool, keyspace::Keyspace, queue::fleet, routes::connections};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// As long as the lease of a job: what a dead process leaves is free when its jobs are.
const TTL_MS: u64 = 20_000;
/// Where Redis has the time of its last flush.
const SINCE: &str = "connections-since";
/// Leases are kept so often.
const EVERY: Duration = Duration::from_secs(5);
/// After a flush it takes so long until every process has told of the leases that it holds.
const SETTLED_MS: u64 = 8_000;
/// A full set is not asked again by this process for so long.
const FULL_FOR: Duration = Duration::from_millis(250);

/// Keys: the set, and the time of the last flush. Arguments: limit, milliseconds, the flush that this process knows of or nothing,
/// milliseconds after which a flush is over, wanted ids. Answers how many of the ids, from the first, have a lease now, and the flush.
const TAKE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local flush = redis.call('GET', KEYS[2])
if not flush then
    flush = string.format('%.0f', now)
    redis.call('SET', KEYS[2], flush)
end
if ARGV[3] ~= '' and ARGV[3] ~= flush and now - tonumber(flush) < tonumber(ARGV[4]) then return {0, ARGV[3]} end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local free = tonumber(ARGV[1]) - redis.call('ZCARD', KEYS[1])
local granted = 0
for i = 5, #ARGV do
    if granted >= free then break end
    redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[i])
    granted = granted + 1
end
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[2]) * 2)
return {granted, flush}";

/// Keys: the time of the last flush. Answers it, and how many milliseconds ago it was; the first who asks makes it.
const BEGIN: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[1], string.format('%.0f', now), 'NX')
local flush = redis.call('GET', KEYS[1])
return {flush, now - tonumber(flush)}";
/// The flush that a process knows of which cannot say what others hold.
const UNKNOWN: &str = "unknown";

/// Keys: the set. Arguments: milliseconds, ids. Leases that a flush has taken come back: their connections are open. Answers how many there are
/// over all processes.
const KEEP: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + tonumber(ARGV[1]), ARGV[i]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[1]) * 2)
return redis.call('ZCARD', KEYS[1])";

/// The leases of this process.
#[derive(Clone)]
pub struct Leases {
    inner: Arc<Inner>,
}

struct Inner {
    keyspace: Keyspace,
    held: Mutex<HashSet<(String, Uuid)>>,
    given_back: Mutex<Vec<(String, Uuid)>>,
    /// The flush that this process knows of.
    flush: Mutex<String>,
    full: Mutex<HashMap<String, Instant>>,
    /// As they were when the leases were kept last.
    crowds: Mutex<HashMap<String, Crowd>>,
    take: Script,
    keep: Script,
}

/// The leases of one name.
struct Crowd {
    /// Over all processes.
    total: usize,
    /// Of this process.
    own: usize,
    /// Of those, told to go since.
    gone: usize,
}

impl Crowd {
    /// Whether one more of this process's has to go, where there may be `limit`.
    fn gives_up(&mut self, limit: usize) -> bool {
        let mine = (self.total.saturating_sub(limit) * self.own).div_ceil(self.total.max(1));
        let goes = self.gone < mine;
        self.gone += usize::from(goes);
        goes
    }
}

/// One lease; it is given back when it is dropped.
pub struct Lease {
    inner: Arc<Inner>,
    key: String,
    id: Uuid,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let entry = (std::mem::take(&mut self.key), self.id);
        self.inner.held.lock().remove(&entry);
        self.inner.given_back.lock().push(entry);
    }
}

impl Leases {
    /// Without leases yet.
    #[must_use]
    pub fn new(keyspace: Keyspace) -> Self {
        let inner = Inner {
            keyspace,
            held: Mutex::default(),
            given_back: Mutex::default(),
            flush: Mutex::default(),
            full: Mutex::default(),
            crowds: Mutex::default(),
            take: Script::new(TAKE),
            keep: Script::new(KEEP),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Looks whether Redis was flushed a moment ago, while others were at work who have not told yet which connections they hold: then this
    /// process waits for that, as they do. Call it before the process is counted among the workers: who is younger than the flush has had
    /// nothing to lose.
    pub async fn begin(&self, pool: &PgPool) {
        let flush = match self.last_flush(pool).await {
            Ok(flush) => flush,
            Err(error) => {
                tracing::warn!(%error, "could not ask whether Redis was flushed; new connections may have to wait for 8 s");
                UNKNOWN.to_owned()
            }
        };
        *self.inner.flush.lock() = flush;
    }

    async fn last_flush(&self, pool: &PgPool) -> anyhow::Result<String> {
        let script = Script::new(BEGIN);
        let call = script.key(self.inner.keyspace.key(SINCE));
        let (flush, ago_ms): (String, u64) = call.invoke_async(&mut self.inner.keyspace.connection()).await?;
        let settled = ago_ms >= SETTLED_MS || !fleet::is_older(pool, flush.parse()?).await?;
        Ok(if settled { flush } else { UNKNOWN.to_owned() })
    }

    /// Takes up to `wanted` leases of `name`, of which there are `limit` over all processes.
    ///
    /// # Errors
    /// Redis failed: no connection may be opened.
    pub async fn take(&self, name: &str, limit: u32, wanted: usize) -> Result<Vec<Lease>, redis::RedisError> {
        self.settle().await?;
        let key = connections::key(&self.inner.keyspace, name);
        let ids: Vec<Uuid> = (0..wanted).map(|_| Uuid::new_v4()).collect();
        let known = self.inner.flush.lock().clone();
        let mut call = self.inner.take.key(&key);
        call.key(self.inner.keyspace.key(SINCE));
        call.arg(limit).arg(TTL_MS).arg(known).arg(SETTLED_MS);
        for id in &ids {
            call.arg(id.to_string());
        }
        let (granted, flush): (usize, String) = call.invoke_async(&mut self.inner.keyspace.connection()).await?;
        *self.inner.flush.lock() = flush;
        let mut held = self.inner.held.lock();
        Ok(ids
            .into_iter()
            .take(granted)
            .map(|id| {
                held.insert((key.clone(), id));
                Lease { inner: self.inner.clone(), key: key.clone(), id }
            })
            .collect())
    }

    /// One lease of `name`, without asking again at once where all are taken.
    ///
    /// # Errors
    /// Redis failed: no connection may be opened.
    pub async fn take_one(&self, name: &str, limit: u32) -> Result<Option<Lease>, redis::RedisError> {
        if self.inner.full.lock().get(name).is_some_and(|until| *until > Instant::now()) {
            return Ok(None);
        }
        let lease = self.take(name, limit, 1).await?.pop();
        let mut full = self.inner.full.lock();
        match lease {
            Some(_) => drop(full.remove(name)),
            None => drop(full.insert(name.to_owned(), Instant::now() + FULL_FOR)),
        }
        Ok(lease)
    }

    /// Whether whoever has a lease of `name` has to give it up, since there may be only `limit` now: somebody has lowered it. Each process
    /// gives up its part of what is too many.
    #[must_use]
    pub fn gives_up(&self, name: &str, limit: u32) -> bool {
        let mut crowds = self.inner.crowds.lock();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        crowds.get_mut(&connections::key(&self.inner.keyspace, name)).is_some_and(|crowd| crowd.gives_up(limit))
    }

    /// Tells Redis what was given back.
    async fn settle(&self) -> Result<(), redis::RedisError> {
        let given_back = std::mem::take(&mut *self.inner.given_back.lock());
        if given_back.is_empty() {
            return Ok(());
        }
        let mut pipe = redis::pipe();
        for (key, id) in &given_back {
            pipe.zrem(key, id.to_string()).ignore();
        }
        pipe.query_async(&mut self.inner.keyspace.connection()).await
    }

    /// Keeps what is held, every few seconds until `over`. Where it fails the leases end by themselves.
    pub async fn run(self, over: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = over.cancelled() => break,
            }
            if let Err(error) = self.renew().await {
                tracing::warn!(%error, "could not keep the leases of connections");
            }
        }
    }

    /// Gives back all that this process still has, at its end: its connections are closed, or are in a moment. Otherwise whoever starts next
    /// would find a full route until they run out.
    ///
    /// # Errors
    /// Redis failed: they run out.
    pub async fn leave(&self) -> Result<(), redis::RedisError> {
        let held = std::mem::take(&mut *self.inner.held.lock());
        self.inner.given_back.lock().extend(held);
        self.settle().await
    }

    /// Tells Redis once more of everything that is held.
    ///
    /// # Errors
    /// Redis failed.
    pub async fn renew(&self) -> Result<(), redis::RedisError> {
        self.settle().await?;
        let mut by_key: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
        for (key, id) in self.inner.held.lock().iter() {
            by_key.entry(key.clone()).or_default().push(id.to_string());
        }
        let mut crowds = HashMap::new();
        for (key, ids) in by_key {
            let mut call = self.inner.keep.key(&key);
            call.arg(TTL_MS);
            for id in &ids {
                call.arg(id);
            }
            let total = call.invoke_async(&mut self.inner.keyspace.connection()).await?;
            crowds.insert(key, Crowd { total, own: ids.len(), gone: 0 });
        }
        *self.inner.crowds.lock() = crowds;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_too_many_each_process_gives_up_its_part() {
        let gone = |total, own, limit| {
            let mut crowd = Crowd { total, own, gone: 0 };
            (0..own + 1).filter(|_| crowd.gives_up(limit)).count()
        };
        assert_eq!(
            [gone(8, 8, 8), gone(8, 8, 2), gone(8, 2, 2), gone(8, 6, 2), gone(4, 2, 1), gone(3, 3, 0), gone(0, 0, 0)],
            [0, 6, 2, 5, 2, 3, 0]
        );
    }
}
