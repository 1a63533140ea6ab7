//! Redis: reachable, new enough, throws nothing away, knows the time.

use std::time::Duration;

use chrono::DateTime;

use super::{Check, skew};
use crate::{clock::Clock, settings};

const PATIENCE: Duration = Duration::from_secs(3);

/// Looks.
pub async fn look(settings: &settings::Redis, clock: &Clock) -> Vec<Check> {
    let asked = async {
        let client = ::redis::Client::open(settings.url.expose())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let info: String = ::redis::cmd("INFO").query_async(&mut connection).await?;
        let begun = clock.now();
        let (seconds, micros): (i64, u32) = ::redis::cmd("TIME").query_async(&mut connection).await?;
        let ours = begun + (clock.now() - begun) / 2;
        let theirs = DateTime::from_timestamp(seconds, micros * 1_000).unwrap_or_default();
        Ok::<_, ::redis::RedisError>((info, (theirs - ours).as_seconds_f64()))
    };
    let mend = "start Redis, or correct redis.url; work is accepted and waits meanwhile";
    match tokio::time::timeout(PATIENCE, asked).await {
        Err(_) => vec![Check::fail("redis", format!("no answer within {} s", PATIENCE.as_secs()), mend)],
        Ok(Err(error)) => vec![Check::fail("redis", format!("does not answer: {error}"), mend)],
        Ok(Ok((info, seconds))) => vec![version(&info), policy(&info), skew("redis.clock", seconds)],
    }
}

fn field<'a>(info: &'a str, name: &str) -> &'a str {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or("").trim()
}

fn version(info: &str) -> Check {
    let version = field(info, "redis_version");
    let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if major >= 6 {
        Check::ok("redis", format!("answers, version {version}"))
    } else {
        Check::fail("redis", format!("is version {version:?}"), "run Redis 6 or newer, or Valkey")
    }
}

/// Evicted tickets come back by the bell, but evicted leases of connections and tokens let more through than the settings allow.
fn policy(info: &str) -> Check {
    let (policy, most) = (field(info, "maxmemory_policy"), field(info, "maxmemory"));
    if policy == "noeviction" || most == "0" {
        Check::ok("redis.policy", format!("throws nothing away (maxmemory {most}, {policy})"))
    } else {
        let says = format!("may throw away limits and leases when its memory is full ({policy})");
        Check::warn("redis.policy", says, "redis-cli CONFIG SET maxmemory-policy noeviction")
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    #[test]
    fn an_old_redis_or_one_that_evicts_is_told() {
        let info = |version: &str, most: &str, policy: &str| {
            format!("redis_version:{version}\r\nmaxmemory:{most}\r\nmaxmemory_policy:{policy}\r\n")
        };
        assert_eq!(version(&info("7.0.15", "0", "noeviction")).verdict, Verdict::Ok);
        assert_eq!(version(&info("5.0.1", "0", "noeviction")).verdict, Verdict::Fail);
        assert_eq!(policy(&info("7.0.15", "0", "allkeys-lru")).verdict, Verdict::Ok);
        assert_eq!(policy(&info("7.0.15", "1000", "noeviction")).verdict, Verdict::Ok);
        assert_eq!(policy(&info("7.0.15", "1000", "allkeys-lru")).verdict, Verdict::Warn);
    }
}
