//! Tokens: GCRA buckets in Redis, all levels in one call; hours and days are counted in PostgreSQL. A process buys a few tokens at a time,
//! worth at most a tenth of a second of sending, and gives back what it did not use. Without Redis there are no tokens.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use redis::Script;
use shared::{
    PgPool,
    clock::Clock,
    deliveries::{
        quota::{self, Count},
        shaping::{Level, resolve::Kind},
    },
    keyspace::Keyspace,
};

/// Tokens of a purchase without any limit: Redis is asked all the same, so that its absence is noticed.
const UNLIMITED: u32 = 200;
/// What a refusal asks to wait at least.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// How far messages to one person go ahead of campaigns, in microseconds of the rate.
const AHEAD_US: i64 = 1_000_000;
/// A purchase is good for so long.
const GOOD_FOR: Duration = Duration::from_millis(500);
/// Nobody is sent away for longer: limits are lifted meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Seconds of its rate that a bucket holds.
const BURST_US: i64 = 200_000;
/// What a minute can have beside sixty seconds' worth: the burst, what messages to one person go ahead, and a tenth of a second that each of
/// four processes has bought and not yet sent. A limit is kept with so much to spare, so that no minute has more than it says.
const SPARE: f64 = (60.0 + 0.2 + 1.0 + 4.0 * 0.1) / 60.0;

/// Keys: one bucket a level, each holding its theoretical arrival time in microseconds. Arguments: wanted, then per level the interval of
/// a token and the burst, both in microseconds. Answers {granted, microseconds to wait, level that refused}. A negative `wanted` gives back.
/// A bucket that is not there begins with one token and no burst, a slow one with none, and is remembered: after a flush nobody knows what
/// was sold just before.
const TAKE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local wanted = tonumber(ARGV[1])
local granted, wait, level = wanted, 0, 0
local tats, new = {}, {}
local function put(i, tat, interval, burst)
    local keep = math.ceil(math.max(tat - now + burst, 0) / 1000) + 1000
    if interval >= 1000000 then keep = math.max(keep, 3600000) end
    redis.call('SET', KEYS[i], string.format('%.0f', tat), 'PX', keep)
end
for i = 1, #KEYS do
    local interval, burst = tonumber(ARGV[i * 2]), tonumber(ARGV[i * 2 + 1])
    local kept = redis.call('GET', KEYS[i])
    local tat
    if kept then
        tat = math.max(tonumber(kept), now)
    elseif interval >= 1000000 then
        tat, new[i] = now + burst, true
    else
        tat = now + burst - interval
    end
    tats[i] = (kept or wanted > 0) and tat
    if wanted > 0 then
        local room = math.floor((now + burst - tat) / interval)
        if room < granted then granted = math.max(room, 0) end
        if room < 1 and tat + interval - burst - now > wait then wait, level = tat + interval - burst - now, i end
    end
end
for i = 1, #KEYS do
    local interval, burst = tonumber(ARGV[i * 2]), tonumber(ARGV[i * 2 + 1])
    if tats[i] and (granted ~= 0 or new[i]) then put(i, tats[i] + granted * interval, interval, burst) end
end
return {granted, math.ceil(wait), level}";

/// The answer for one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It may start.
    Granted,
    /// Not before; whether the destination's own limit says so, or one of the sender.
    Refused {
        /// How long.
        wait: Duration,
        /// The destination refused.
        by_destination: bool,
    },
}

/// Nobody can say: nothing may start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Closed(String);

impl From<redis::RedisError> for Closed {
    fn from(error: redis::RedisError) -> Self {
        Self(error.to_string())
    }
}

/// What was to be had.
enum Bought {
    /// One or more.
    Tokens { tokens: u32, counts: Vec<Count> },
    /// None of all levels.
    Nothing { wait: Duration, by_destination: bool },
}

#[derive(Default)]
struct Purchase {
    tokens: u32,
    bought: Option<Instant>,
    buckets: Vec<Bucket>,
    counts: Vec<Count>,
    /// There is nothing to be had before this: Redis need not be asked again for each sender that waits.
    refused: Option<(Instant, bool)>,
}

/// One rate of one level.
#[derive(Clone, Debug)]
struct Bucket {
    key: String,
    interval_us: i64,
    burst_us: i64,
    kind: Kind,
}

/// Where the tokens of a set of levels are bought. Those with the same levels have one purchase.
pub struct Till {
    buckets: Vec<Bucket>,
    /// Levels that count hours or days.
    counted: Vec<Level>,
    batch: u32,
    purchase: Arc<tokio::sync::Mutex<Purchase>>,
}

/// By the names of the levels.
type Purchases = HashMap<String, Arc<tokio::sync::Mutex<Purchase>>>;

/// Tokens.
pub struct Limiter {
    keyspace: Keyspace,
    pool: PgPool,
    clock: Clock,
    script: Script,
    purchases: Mutex<Purchases>,
}

impl Limiter {
    /// Without tokens yet.
    #[must_use]
    pub fn new(keyspace: Keyspace, pool: PgPool, clock: Clock) -> Self {
        Self { keyspace, pool, clock, script: Script::new(TAKE), purchases: Mutex::default() }
    }

    /// The till of these levels.
    #[must_use]
    pub fn till(&self, levels: &[Level]) -> Till {
        let mut buckets = Vec::new();
        let mut slowest = f64::INFINITY;
        for level in levels {
            for (suffix, rate) in [("", level.per_second), (":minute", level.per_minute.map(|rate| rate / 60.0))] {
                let Some(rate) = rate else { continue };
                slowest = slowest.min(rate);
                buckets.push(self.bucket(&format!("{}{suffix}", level.scope), rate, level.kind));
            }
        }
        let counted: Vec<Level> = levels.iter().filter(|level| level.is_counted()).cloned().collect();
        // A hundredth of what the hour or the day has, so that one process cannot sit on the rest.
        let least = counted.iter().flat_map(|level| level.per_hour.into_iter().chain(level.per_day)).min();
        let batch = tokens(slowest).min(least.map_or(UNLIMITED, |most| (most / 100).max(1)));
        let limiting = levels.iter().filter(|level| level.is_counted() || level.per_second.or(level.per_minute).is_some());
        // A route without a rate has no level; then all that is unlimited has one purchase.
        let name = limiting.map(|level| &*level.scope).collect::<Vec<_>>().join("|");
        let purchase = self.purchases.lock().entry(name).or_default().clone();
        Till { buckets, counted, batch, purchase }
    }

    /// Takes a token of every level, or none.
    ///
    /// # Errors
    /// Redis, or the database that counts hours and days, failed: nothing may start.
    pub async fn take(&self, till: &Till) -> Result<Take, Closed> {
        // Whoever comes while a purchase is under way waits for it: one call for all of them.
        let mut purchase = till.purchase.lock().await;
        if purchase.tokens > 0 && purchase.bought.is_some_and(|at| at.elapsed() < GOOD_FOR) {
            purchase.tokens -= 1;
            return Ok(Take::Granted);
        }
        if let Some((until, by_destination)) = purchase.refused.filter(|(until, _)| *until > Instant::now()) {
            return Ok(Take::Refused { wait: until.saturating_duration_since(Instant::now()).max(SHORTEST_WAIT), by_destination });
        }
        purchase.refused = None;
        self.give_back(&mut purchase).await?;
        match self.buy(till, &till.buckets, till.batch).await? {
            Bought::Nothing { wait, by_destination } => {
                purchase.refused = Some((Instant::now() + wait.min(GOOD_FOR), by_destination));
                Ok(Take::Refused { wait, by_destination })
            }
            Bought::Tokens { tokens, counts } => {
                let buckets = till.buckets.clone();
                *purchase = Purchase { tokens: tokens - 1, bought: Some(Instant::now()), buckets, counts, refused: None };
                Ok(Take::Granted)
            }
        }
    }

    /// Takes a token for a message that goes before campaigns: of the same buckets, up to a second ahead of what they may sell. Campaigns wait
    /// until the rate has caught up.
    ///
    /// # Errors
    /// Redis, or the database that counts hours and days, failed: nothing may start.
    pub async fn take_urgent(&self, till: &Till) -> Result<Take, Closed> {
        let ahead = |bucket: &Bucket| Bucket { burst_us: bucket.burst_us + AHEAD_US, ..bucket.clone() };
        let ahead: Vec<Bucket> = till.buckets.iter().map(ahead).collect();
        // Without any limit a message needs nothing of Redis.
        if ahead.is_empty() && till.counted.is_empty() {
            return Ok(Take::Granted);
        }
        Ok(match self.buy(till, &ahead, 1).await? {
            Bought::Tokens { .. } => Take::Granted,
            Bought::Nothing { wait, by_destination } => Take::Refused { wait, by_destination },
        })
    }

    /// Buys up to `wanted` tokens of these buckets and of the till's counts. What the counts do not have goes back to the buckets.
    async fn buy(&self, till: &Till, buckets: &[Bucket], wanted: u32) -> Result<Bought, Closed> {
        let (granted, wait_us, refused) = self.call(buckets, i64::from(wanted)).await?;
        if granted < 1 {
            let bucket = buckets.get(usize::try_from(refused - 1).unwrap_or(0));
            let by_destination = bucket.is_some_and(|bucket| bucket.kind == Kind::Destination);
            let wait = Duration::from_micros(u64::try_from(wait_us).unwrap_or(0)).clamp(SHORTEST_WAIT, LONGEST_WAIT);
            return Ok(Bought::Nothing { wait, by_destination });
        }
        let tokens = u32::try_from(granted).unwrap_or(1);
        if till.counted.is_empty() {
            return Ok(Bought::Tokens { tokens, counts: Vec::new() });
        }
        let counts = quota::counts(&till.counted, self.clock.now());
        let bought = quota::buy(&self.pool, &counts, tokens).await;
        let kept = bought.as_ref().map_or(0, |(bought, _)| *bought);
        if kept < tokens && !buckets.is_empty() {
            self.call(buckets, -i64::from(tokens - kept)).await?;
        }
        if let (0, full) = bought.map_err(|error| Closed(error.to_string()))? {
            let wait = full.as_ref().and_then(|count| (count.ends_at() - self.clock.now()).to_std().ok());
            let wait = wait.unwrap_or(SHORTEST_WAIT).clamp(SHORTEST_WAIT, LONGEST_WAIT);
            let level = full.and_then(|count| till.counted.iter().find(|level| *level.scope == *count.scope));
            let by_destination = level.is_some_and(|level| level.kind == Kind::Destination);
            return Ok(Bought::Nothing { wait, by_destination });
        }
        Ok(Bought::Tokens { tokens: kept, counts })
    }

    /// Gives back what was bought and not used, and forgets purchases that nobody makes. Once a second.
    pub async fn tidy(&self) {
        let purchases: Vec<_> = self.purchases.lock().iter().map(|(key, purchase)| (key.clone(), purchase.clone())).collect();
        for (key, purchase) in purchases {
            if let Ok(mut purchase) = purchase.try_lock()
                && purchase.bought.is_none_or(|at| at.elapsed() >= GOOD_FOR)
                && self.give_back(&mut purchase).await.is_err()
            {
                return;
            }
            // The map's and this one: no till has it. Nobody makes one meanwhile, since that takes the map.
            let mut purchases = self.purchases.lock();
            if Arc::strong_count(&purchase) == 2 && purchase.try_lock().is_ok_and(|purchase| purchase.tokens == 0) {
                purchases.remove(&key);
            }
        }
    }

    async fn give_back(&self, purchase: &mut Purchase) -> Result<(), Closed> {
        let unused = std::mem::take(&mut purchase.tokens);
        let (buckets, counts) = (std::mem::take(&mut purchase.buckets), std::mem::take(&mut purchase.counts));
        if unused > 0 && !counts.is_empty() {
            quota::give_back(&self.pool, &counts, unused).await.map_err(|error| Closed(error.to_string()))?;
        }
        if unused > 0 && !buckets.is_empty() {
            self.call(&buckets, -i64::from(unused)).await?;
        }
        Ok(())
    }

    fn bucket(&self, name: &str, rate: f64, kind: Kind) -> Bucket {
        #[expect(clippy::cast_possible_truncation, reason = "a rate is above 1e-5 a second: an interval fits")]
        let interval_us = (1_000_000.0 * SPARE / rate.max(0.000_01)).max(1.0) as i64;
        // One token at least.
        Bucket { key: self.keyspace.key(&format!("rate:{name}")), interval_us, burst_us: interval_us.max(BURST_US), kind }
    }

    async fn call(&self, buckets: &[Bucket], wanted: i64) -> Result<(i64, i64, i64), redis::RedisError> {
        let mut call = self.script.prepare_invoke();
        call.arg(wanted);
        for bucket in buckets {
            call.key(&bucket.key).arg(bucket.interval_us).arg(bucket.burst_us);
        }
        call.invoke_async(&mut self.keyspace.connection()).await
    }
}

fn tokens(rate: f64) -> u32 {
    if rate.is_infinite() {
        return UNLIMITED;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and the constant")]
    let tokens = (rate / 10.0).clamp(1.0, f64::from(UNLIMITED)) as u32;
    tokens
}
