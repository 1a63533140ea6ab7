//! Tokens: GCRA buckets in Redis, all levels in one call. A process buys a few tokens at a time, worth at most a tenth of a second of
//! sending, and gives back what it did not use. Without Redis there are no tokens.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use redis::Script;
use shared::{deliveries::destination::Destination, keyspace::Keyspace};
use uuid::Uuid;

use super::guide::Road;

/// Tokens of a purchase without any limit: Redis is asked all the same, so that its absence is noticed.
const UNLIMITED: u32 = 200;
/// What a refusal asks to wait at least.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// How far messages to one person go ahead of campaigns, in microseconds of the rate.
const AHEAD_US: i64 = 1_000_000;
/// A purchase is good for so long.
const GOOD_FOR: Duration = Duration::from_millis(500);

/// Keys: one bucket a level, each holding its theoretical arrival time in microseconds. Arguments: wanted, then per level the interval of
/// a token and the burst, both in microseconds. Answers {granted, microseconds to wait, level that refused}. A negative `wanted` gives back.
/// A bucket that is not there begins with one token and no burst: after a flush nobody knows what was sold just before.
const TAKE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local wanted = tonumber(ARGV[1])
local granted, wait, level = wanted, 0, 0
local tats = {}
for i = 1, #KEYS do
    local interval, burst = tonumber(ARGV[i * 2]), tonumber(ARGV[i * 2 + 1])
    local kept = redis.call('GET', KEYS[i])
    local tat = kept and math.max(tonumber(kept), now) or now + burst - interval
    tats[i] = (kept or wanted > 0) and tat
    if wanted > 0 then
        local room = math.floor((now + burst - tat) / interval)
        if room < granted then granted = math.max(room, 0) end
        if room < 1 and tat + interval - burst - now > wait then wait, level = tat + interval - burst - now, i end
    end
end
if granted ~= 0 then
    for i = 1, #KEYS do
        local interval, burst = tonumber(ARGV[i * 2]), tonumber(ARGV[i * 2 + 1])
        if tats[i] then
            local tat = tats[i] + granted * interval
            redis.call('SET', KEYS[i], string.format('%.0f', tat), 'PX', math.ceil(math.max(tat - now + burst, 0) / 1000) + 1000)
        end
    end
end
return {granted, math.ceil(wait), level}";

/// The answer for one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It may start.
    Granted,
    /// Not before; whether the destination's own limit says so, or the route's.
    Refused {
        /// How long.
        wait: Duration,
        /// The destination refused.
        by_destination: bool,
    },
}

#[derive(Default)]
struct Purchase {
    tokens: u32,
    bought: Option<Instant>,
    levels: Vec<Level>,
    /// There is nothing to be had before this: Redis need not be asked again for each sender that waits.
    refused: Option<(Instant, bool)>,
}

#[derive(Clone)]
struct Level {
    key: String,
    interval_us: i64,
    burst_us: i64,
}

/// By route, and by destination where that has a rate.
type Purchases = HashMap<(Uuid, String), Arc<tokio::sync::Mutex<Purchase>>>;

/// Tokens by route and destination.
pub struct Limiter {
    keyspace: Keyspace,
    script: Script,
    purchases: Mutex<Purchases>,
}

impl Limiter {
    /// Without tokens yet.
    #[must_use]
    pub fn new(keyspace: Keyspace) -> Self {
        Self { keyspace, script: Script::new(TAKE), purchases: Mutex::default() }
    }

    /// Takes a token of the route and, where the destination has a rate, of the destination.
    ///
    /// # Errors
    /// Redis failed: nothing may start.
    pub async fn take(&self, road: &Road, destination: Option<&Destination>) -> Result<Take, redis::RedisError> {
        let limited = destination.filter(|d| d.allowed_rate().is_some());
        let key = (road.id, limited.map(|d| d.domain.clone()).unwrap_or_default());
        let purchase = self.purchases.lock().entry(key).or_default().clone();
        // Whoever comes while a purchase is under way waits for it: one call for all of them.
        let mut purchase = purchase.lock().await;
        if purchase.tokens > 0 && purchase.bought.is_some_and(|at| at.elapsed() < GOOD_FOR) {
            purchase.tokens -= 1;
            return Ok(Take::Granted);
        }
        if let Some((until, by_destination)) = purchase.refused.filter(|(until, _)| *until > Instant::now()) {
            return Ok(Take::Refused { wait: until.saturating_duration_since(Instant::now()).max(SHORTEST_WAIT), by_destination });
        }
        purchase.refused = None;
        self.give_back(&mut purchase).await?;
        let rates = rates(road, limited);
        let levels: Vec<Level> = rates.iter().filter_map(|(name, rate)| Some(self.level(name, (*rate)?))).collect();
        let slowest = rates.iter().filter_map(|(_, rate)| *rate).fold(f64::INFINITY, f64::min);
        let wanted = tokens(slowest);
        let (granted, wait_us, refused) = self.call(&levels, i64::from(wanted)).await?;
        if granted < 1 {
            let by_destination = levels.get(usize::try_from(refused - 1).unwrap_or(0)).is_some_and(|l| l.key.contains(":domain:"));
            let wait = Duration::from_micros(u64::try_from(wait_us).unwrap_or(0)).max(SHORTEST_WAIT);
            purchase.refused = Some((Instant::now() + wait.min(GOOD_FOR), by_destination));
            return Ok(Take::Refused { wait, by_destination });
        }
        *purchase =
            Purchase { tokens: u32::try_from(granted).unwrap_or(1) - 1, bought: Some(Instant::now()), levels, refused: None };
        Ok(Take::Granted)
    }

    /// Takes a token for a message that goes before campaigns: of the same buckets, up to a second ahead of what they may sell. Campaigns wait
    /// until the rate has caught up.
    ///
    /// # Errors
    /// Redis failed: nothing may start.
    pub async fn take_urgent(&self, road: &Road, destination: Option<&Destination>) -> Result<Take, redis::RedisError> {
        let rates = rates(road, destination.filter(|d| d.allowed_rate().is_some()));
        let levels: Vec<Level> = rates
            .iter()
            .filter_map(|(name, rate)| {
                let level = self.level(name, (*rate)?);
                Some(Level { burst_us: level.burst_us + AHEAD_US, ..level })
            })
            .collect();
        if levels.is_empty() {
            return Ok(Take::Granted);
        }
        let (granted, wait_us, refused) = self.call(&levels, 1).await?;
        if granted > 0 {
            return Ok(Take::Granted);
        }
        let by_destination = levels.get(usize::try_from(refused - 1).unwrap_or(0)).is_some_and(|l| l.key.contains(":domain:"));
        let wait = Duration::from_micros(u64::try_from(wait_us).unwrap_or(0)).max(SHORTEST_WAIT);
        Ok(Take::Refused { wait, by_destination })
    }

    /// Gives back what was bought and not used, and forgets buckets that nobody asks for. Once a second.
    pub async fn tidy(&self) {
        let purchases: Vec<_> = self.purchases.lock().iter().map(|(key, purchase)| (key.clone(), purchase.clone())).collect();
        for (key, purchase) in purchases {
            let Ok(mut purchase) = purchase.try_lock() else { continue };
            if purchase.bought.is_none_or(|at| at.elapsed() >= GOOD_FOR) {
                if self.give_back(&mut purchase).await.is_err() {
                    return;
                }
                drop(purchase);
                self.purchases.lock().remove_entry(&key);
            }
        }
    }

    async fn give_back(&self, purchase: &mut Purchase) -> Result<(), redis::RedisError> {
        let unused = std::mem::take(&mut purchase.tokens);
        let levels = std::mem::take(&mut purchase.levels);
        if unused > 0 && !levels.is_empty() {
            self.call(&levels, -i64::from(unused)).await?;
        }
        Ok(())
    }

    fn level(&self, name: &str, rate: f64) -> Level {
        #[expect(clippy::cast_possible_truncation, reason = "a rate is above 1e-3 a second: an interval fits")]
        let interval_us = (1_000_000.0 / rate.max(0.001)).max(1.0) as i64;
        // A fifth of a second of sending, and one token at least.
        Level { key: self.keyspace.key(&format!("rate:{name}")), interval_us, burst_us: interval_us.max(200_000) }
    }

    async fn call(&self, levels: &[Level], wanted: i64) -> Result<(i64, i64, i64), redis::RedisError> {
        let mut call = self.script.prepare_invoke();
        call.arg(wanted);
        for level in levels {
            call.key(&level.key).arg(level.interval_us).arg(level.burst_us);
        }
        call.invoke_async(&mut self.keyspace.connection()).await
    }
}

/// The levels by name, with their rates.
fn rates(road: &Road, limited: Option<&Destination>) -> [(String, Option<f64>); 2] {
    [
        (format!("route:{}", road.id), road.rate_per_second),
        (limited.map_or_else(String::new, |d| format!("domain:{}", d.domain)), limited.and_then(Destination::allowed_rate)),
    ]
}

fn tokens(rate: f64) -> u32 {
    if rate.is_infinite() {
        return UNLIMITED;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and the constant")]
    let tokens = (rate / 10.0).clamp(1.0, f64::from(UNLIMITED)) as u32;
    tokens
}
