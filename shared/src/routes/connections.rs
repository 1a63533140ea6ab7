//! How many connections a route or a destination has over all processes: a sorted set in Redis each, scored with the time at which a lease ends.
//! The workers write them (`worker/src/sending/leases.rs`).

use redis::Script;
use uuid::Uuid;

use crate::keyspace::Keyspace;

/// Keys: the sets. Answers how many leases of each have not ended.
const TAKEN: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local taken = {}
for i = 1, #KEYS do taken[i] = redis.call('ZCOUNT', KEYS[i], now, '+inf') end
return taken";

/// The name under which a route has its leases.
#[must_use]
pub fn scope(route_id: Uuid) -> String {
    format!("route:{route_id}")
}

/// The key of the leases of a route's or a destination's name.
#[must_use]
pub fn key(keyspace: &Keyspace, scope: &str) -> String {
    keyspace.key(&format!("connections:{scope}"))
}

/// Connections of these routes that somebody has now, in their order.
///
/// # Errors
/// Redis failed.
pub async fn taken(keyspace: &Keyspace, routes: &[Uuid]) -> Result<Vec<u64>, redis::RedisError> {
    if routes.is_empty() {
        return Ok(Vec::new());
    }
    let script = Script::new(TAKEN);
    let mut call = script.prepare_invoke();
    for route in routes {
        call.key(key(keyspace, &scope(*route)));
    }
    call.invoke_async(&mut keyspace.connection()).await
}
