//! Leases of connections: how many a route or a destination may have over all processes. A sorted set in Redis each, scored with the
//! time at which the lease ends; Redis' own clock.

use std::{collections::HashSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::Script;
use shared::keyspace::Keyspace;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const TTL_MS: u64 = 30_000;

/// Keys: the set. Arguments: limit, milliseconds, wanted ids. Answers how many of the ids, from the first, have a lease now.
const TAKE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local free = tonumber(ARGV[1]) - redis.call('ZCARD', KEYS[1])
local granted = 0
for i = 3, #ARGV do
    if granted >= free then break end
    redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[i])
    granted = granted + 1
end
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[2]) * 2)
return granted";

/// Keys: the set. Arguments: milliseconds, ids. Leases that a flush has taken come back: their connections are open.
const KEEP: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + tonumber(ARGV[1]), ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[1]) * 2)
return 0";

/// The leases of this process.
#[derive(Clone)]
pub struct Leases {
    inner: Arc<Inner>,
}

struct Inner {
    keyspace: Keyspace,
    held: Mutex<HashSet<(String, Uuid)>>,
    given_back: Mutex<Vec<(String, Uuid)>>,
    take: Script,
    keep: Script,
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
            take: Script::new(TAKE),
            keep: Script::new(KEEP),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Takes up to `wanted` leases of `name`, of which there are `limit` over all processes.
    ///
    /// # Errors
    /// Redis failed: no connection may be opened.
    pub async fn take(&self, name: &str, limit: u32, wanted: usize) -> Result<Vec<Lease>, redis::RedisError> {
        self.settle().await?;
        let key = self.inner.keyspace.key(&format!("connections:{name}"));
        let ids: Vec<Uuid> = (0..wanted).map(|_| Uuid::new_v4()).collect();
        let mut call = self.inner.take.key(&key);
        call.arg(limit).arg(TTL_MS);
        for id in &ids {
            call.arg(id.to_string());
        }
        let granted: usize = call.invoke_async(&mut self.inner.keyspace.connection()).await?;
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
        let mut ticks = tokio::time::interval(Duration::from_secs(5));
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = over.cancelled() => break,
            }
            if let Err(error) = self.renew().await {
                tracing::warn!(%error, "could not keep the leases of connections");
            }
        }
        let _ = self.settle().await;
    }

    async fn renew(&self) -> Result<(), redis::RedisError> {
        self.settle().await?;
        let mut by_key: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
        for (key, id) in self.inner.held.lock().iter() {
            by_key.entry(key.clone()).or_default().push(id.to_string());
        }
        for (key, ids) in by_key {
            let mut call = self.inner.keep.key(key);
            call.arg(TTL_MS);
            for id in ids {
                call.arg(id);
            }
            call.invoke_async::<i64>(&mut self.inner.keyspace.connection()).await?;
        }
        Ok(())
    }
}
