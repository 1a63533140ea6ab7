//! So many requests a minute: one count per class and client over all processes, kept in Redis. The minute is the calendar's, so that
//! every process means the same one.
//!
//! Each process keeps the highest count that it knows of. It is never above the true one, so a client that is over its limit is refused
//! without asking Redis again; and when Redis is away the process goes on from there by itself.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use redis::Script;

use crate::{clock::Clock, keyspace::Keyspace, settings};

/// Adds one, and answers the count of the minute; the key goes by itself after two.
const COUNT: &str = r"
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], 120000) end
return count";

/// How often Redis is asked whether it is back.
const PROBE: Duration = Duration::from_secs(1);
/// Clients that a process remembers within a minute, about 6 MB; those beyond are counted by Redis alone, and while it is away as one.
const MOST_CLIENTS: usize = 100_000;

/// Counts requests.
pub struct Allowances {
    keyspace: Keyspace,
    script: Script,
    patience: Duration,
    clock: Clock,
    known: Mutex<Known>,
    away: AtomicBool,
}

/// What this process knows of the minute.
#[derive(Default)]
struct Known {
    minute: i64,
    counts: HashMap<(&'static str, IpAddr), u32>,
    /// Of all clients together that have no place of their own.
    rest: HashMap<&'static str, u32>,
}

/// Where a client stands after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Requests in a minute.
    pub limit: u32,
    /// Of them, those that are left.
    pub remaining: u32,
    /// Seconds until the next minute begins: 1 to 60.
    pub reset_seconds: u32,
    /// Whether the request was one too many.
    pub refused: bool,
}

impl Allowances {
    /// Waits for Redis for `patience` at most, once; from then on it counts in this process until Redis answers again.
    ///
    /// # Errors
    /// The address of Redis is malformed.
    pub fn new(redis: &settings::Redis, patience: Duration, clock: Clock) -> Result<Self, redis::RedisError> {
        let timeout_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let keyspace = Keyspace::new(&settings::Redis { timeout_ms, ..redis.clone() })?;
        let (known, away) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { keyspace, script: Script::new(COUNT), patience, clock, known, away })
    }

    /// Counts a request of `client`, which may make `limit` of them in a minute.
    pub async fn take(self: &Arc<Self>, class: &'static str, client: IpAddr, limit: u32) -> Standing {
        let now = self.clock.now().timestamp();
        let minute = now.div_euclid(60);
        let mut count = self.known.lock().add(minute, class, client);
        if count.is_none_or(|count| count <= limit)
            && let Some(shared) = self.ask(minute, class, client).await
        {
            self.known.lock().learn(minute, class, client, shared);
            count = Some(count.unwrap_or(0).max(shared));
        }
        let count = count.unwrap_or_else(|| self.known.lock().add_to_the_rest(minute, class));
        let reset_seconds = u32::try_from(60 - now.rem_euclid(60)).unwrap_or(60);
        Standing { limit, remaining: limit.saturating_sub(count), reset_seconds, refused: count > limit }
    }

    /// The count over all processes, this request included; nothing while Redis is away.
    async fn ask(self: &Arc<Self>, minute: i64, class: &str, client: IpAddr) -> Option<u32> {
        if self.away.load(Ordering::Relaxed) {
            return None;
        }
        let key = self.keyspace.key(&format!("allowance:{class}:{minute}:{client}"));
        let mut connection = self.keyspace.connection();
        let mut call = self.script.prepare_invoke();
        call.key(key);
        match tokio::time::timeout(self.patience, call.invoke_async::<u32>(&mut connection)).await {
            Ok(Ok(count)) => Some(count),
            Ok(Err(error)) => self.lose(&error.to_string()),
            Err(_) => self.lose("no answer in time"),
        }
    }

    fn lose(self: &Arc<Self>, reason: &str) -> Option<u32> {
        if !self.away.swap(true, Ordering::Relaxed) {
            tracing::warn!(error.full = reason, "Redis does not count requests; this process counts alone until it does");
            metrics::gauge!("http_limits_alone").set(1.0);
            tokio::spawn(Self::probe(Arc::downgrade(self)));
        }
        None
    }

    async fn probe(this: std::sync::Weak<Self>) {
        loop {
            tokio::time::sleep(PROBE).await;
            let Some(this) = this.upgrade() else { return };
            if let Ok(Ok(())) = tokio::time::timeout(this.patience, this.keyspace.ping()).await {
                this.away.store(false, Ordering::Relaxed);
                tracing::info!("Redis counts requests again");
                metrics::gauge!("http_limits_alone").set(0.0);
                return;
            }
        }
    }
}

impl Known {
    /// One more request; nothing where too many clients are known already.
    fn add(&mut self, minute: i64, class: &'static str, client: IpAddr) -> Option<u32> {
        if minute > self.minute {
            self.minute = minute;
            self.counts.clear();
            self.rest.clear();
        }
        let full = self.counts.len() >= MOST_CLIENTS;
        match self.counts.entry((class, client)) {
            Entry::Occupied(mut count) => {
                *count.get_mut() = count.get().saturating_add(1);
                Some(*count.get())
            }
            Entry::Vacant(_) if full => None,
            Entry::Vacant(place) => Some(*place.insert(1)),
        }
    }

    /// One more request of those without a place, whom nobody else counts.
    fn add_to_the_rest(&mut self, minute: i64, class: &'static str) -> u32 {
        if minute != self.minute {
            return 1;
        }
        let count = self.rest.entry(class).or_default();
        *count = count.saturating_add(1);
        *count
    }

    fn learn(&mut self, minute: i64, class: &'static str, client: IpAddr, shared: u32) {
        if minute == self.minute
            && let Some(count) = self.counts.get_mut(&(class, client))
        {
            *count = shared.max(*count);
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::testing::Stage;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7));

    fn process(stage: &Stage) -> Arc<Allowances> {
        let patience = Duration::from_secs(30);
        Arc::new(Allowances::new(&stage.settings.redis, patience, stage.clock.clone()).expect("an address"))
    }

    #[tokio::test]
    async fn two_processes_share_a_minute_and_the_next_one_begins_anew() {
        let stage = Stage::new().await;
        let (one, two) = (process(&stage), process(&stage));
        stage.clock.advance(TimeDelta::seconds(20));
        for count in 0..5_u32 {
            let process = if count % 2 == 0 { &one } else { &two };
            let standing = process.take("sample", CLIENT, 5).await;
            assert_eq!(standing, Standing { limit: 5, remaining: 4 - count, reset_seconds: 40, refused: false });
        }
        for process in [&one, &two, &one] {
            assert!(process.take("sample", CLIENT, 5).await.refused);
        }
        assert!(!one.take("other", CLIENT, 5).await.refused);
        assert!(!one.take("sample", "203.0.113.8".parse().expect("an address"), 5).await.refused);
        stage.clock.advance(TimeDelta::seconds(39));
        assert!(one.take("sample", CLIENT, 5).await.refused);
        stage.clock.advance(TimeDelta::seconds(1));
        assert_eq!(two.take("sample", CLIENT, 5).await.remaining, 4);
    }

    #[tokio::test]
    async fn of_many_requests_at_once_exactly_the_limit_passes() {
        let stage = Stage::new().await;
        let (one, two) = (process(&stage), process(&stage));
        let takes = (0..200).map(|n| if n % 2 == 0 { one.clone() } else { two.clone() }).map(|process| async move {
            let standing = process.take("sample", CLIENT, 100).await;
            u32::from(!standing.refused)
        });
        assert_eq!(futures::future::join_all(takes).await.into_iter().sum::<u32>(), 100);
    }

    #[tokio::test]
    async fn without_redis_a_process_counts_by_itself_from_what_it_knew() {
        let stage = Stage::new().await;
        let (here, gone) = (process(&stage), process(&stage));
        for _ in 0..3 {
            here.take("sample", CLIENT, 5).await;
        }
        assert_eq!(gone.take("sample", CLIENT, 5).await.remaining, 1);
        gone.away.store(true, Ordering::Relaxed);
        assert_eq!(gone.take("sample", CLIENT, 5).await.remaining, 0);
        assert!(gone.take("sample", CLIENT, 5).await.refused);

        let nowhere = crate::settings::Redis { url: "redis://127.0.0.1:1/0".to_owned().into(), ..stage.settings.redis.clone() };
        let alone = Arc::new(Allowances::new(&nowhere, Duration::from_millis(100), stage.clock.clone()).expect("an address"));
        assert_eq!(alone.take("sample", CLIENT, 1).await.remaining, 0);
        assert!(alone.away.load(Ordering::Relaxed));
        assert!(alone.take("sample", CLIENT, 1).await.refused);
    }
    #[tokio::test]
    async fn without_redis_clients_that_have_no_place_are_one() {
        let stage = Stage::new().await;
        let alone = process(&stage);
        alone.away.store(true, Ordering::Relaxed);
        let client = |n: usize| IpAddr::V6(std::net::Ipv6Addr::from_bits(n as u128));
        for n in 0..MOST_CLIENTS {
            assert!(!alone.take("sample", client(n), 1).await.refused);
        }
        let rest = [client(MOST_CLIENTS), client(MOST_CLIENTS + 1)];
        assert!(!alone.take("sample", rest[0], 1).await.refused);
        assert!(alone.take("sample", rest[1], 1).await.refused);
        assert!(!alone.take("other", rest[1], 1).await.refused);
        assert!(alone.take("sample", client(0), 1).await.refused);
        stage.clock.advance(TimeDelta::minutes(1));
        assert!(!alone.take("sample", rest[1], 1).await.refused);
        // Redis counts them one by one.
        let shared = process(&stage);
        shared.known.lock().counts = (0..MOST_CLIENTS).map(|n| (("sample", client(n)), 1)).collect();
        shared.known.lock().minute = stage.clock.now().timestamp().div_euclid(60);
        for client in rest {
            assert!(!shared.take("sample", client, 1).await.refused);
            assert!(shared.take("sample", client, 1).await.refused);
        }
    }
}
