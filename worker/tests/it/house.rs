//! A stage with a sink, and workers in this process.

use std::{collections::HashMap, sync::Arc, time::Duration};

use mochila_bench::sink::{Options, Sink};
use mochila_worker::process::Process;
use shared::{
    clock::Clock,
    database,
    deliveries::tally::{self, Tally},
    queue::lane::Lane,
    testing::Stage,
};
use uuid::Uuid;

/// The real parts, a mail server that counts, and quick settings.
pub struct House {
    pub stage: Stage,
    pub sink: Sink,
}

impl House {
    pub async fn new() -> Self {
        let mut stage = Stage::new().await;
        stage.clock = Clock::system();
        stage.settings.queue.bell_ms = 20;
        stage.settings.queue.poll_ms = 20;
        stage.settings.sending.connections = 16;
        stage.settings.sending.retry.first_seconds = 0.5;
        let sink = Sink::start(&Options::default()).await.expect("a sink");
        stage.route(sink.smtp.port()).await;
        Self { stage, sink }
    }

    /// A worker of these slots.
    pub async fn worker(&self, slots: &[(Lane, usize)]) -> Process {
        let slots: HashMap<Lane, usize> = slots.iter().copied().collect();
        Process::start(Arc::new(self.stage.settings.clone()), self.stage.pool.clone(), self.stage.clock.clone(), &slots)
            .await
            .expect("a worker")
    }

    /// Waits until the worker knows that sending is held and none of its runs is left. Answers what the mail server has received.
    pub async fn until_still(&self, worker: &Process) -> u64 {
        for _ in 0..600 {
            if worker.desk().post.guide.hold().is_some() && worker.desk().heart.count() == 0 {
                return self.sink.counts.stats().received;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("still at work after half a minute: {} runs", worker.desk().heart.count());
    }

    /// FLUSHALL, of this test's keys alone: other tests run beside it.
    pub async fn flush_redis(&self) {
        let client = redis::Client::open(self.stage.settings.redis.url.expose()).expect("an address");
        let mut connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
        let pattern = format!("{}:*", self.stage.settings.redis.prefix);
        let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(&mut connection).await.expect("keys");
        if !keys.is_empty() {
            redis::cmd("DEL").arg(keys).query_async::<()>(&mut connection).await.expect("deleted");
        }
    }

    /// As if Redis had been up for an hour.
    pub async fn long_ago(&self) {
        let keyspace = shared::keyspace::Keyspace::new(&self.stage.settings.redis).expect("an address");
        let script = redis::Script::new(
            "local now = redis.call('TIME')[1]; redis.call('SET', KEYS[1], string.format('%.0f', (now - 3600) * 1000))",
        );
        let mut connection = keyspace.connection();
        script.key(keyspace.key("connections-since")).invoke_async::<()>(&mut connection).await.expect("set");
    }

    /// Connections that Redis takes for open, to routes and destinations.
    pub async fn connections_taken(&self) -> u64 {
        self.connections_to("*").await
    }

    /// To routes alone.
    pub async fn connections_to_route(&self) -> u64 {
        self.connections_to("route:*").await
    }

    /// To a route or a destination by its name, or all that match.
    pub async fn connections_to(&self, pattern: &str) -> u64 {
        let keyspace = shared::keyspace::Keyspace::new(&self.stage.settings.redis).expect("an address");
        let mut connection = keyspace.connection();
        let pattern = shared::routes::connections::key(&keyspace, pattern);
        let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(&mut connection).await.expect("keys");
        let mut taken = 0;
        for key in keys {
            taken += redis::cmd("ZCARD").arg(key).query_async::<u64>(&mut connection).await.expect("a set");
        }
        taken
    }

    /// Tickets whose bytes mean nothing, one whose data is missing, and one that names a job that is not there.
    pub async fn garbage_tickets(&self, lane: Lane) {
        let keyspace = shared::keyspace::Keyspace::new(&self.stage.settings.redis).expect("an address");
        let config = shared::queue::ticket::config(&keyspace, lane);
        let mut connection = keyspace.connection();
        for payload in [&b"{not json"[..], &[0, 255, 254, 1], &[7; 16], &[]] {
            let task = apalis_core::task::builder::TaskBuilder::new(payload.to_vec()).build();
            apalis_redis::queries::push_tasks(&mut connection, &config, &[task]).await.expect("pushed");
        }
        let _: () = redis::cmd("RPUSH")
            .arg(config.active_jobs_list())
            .arg("01ARZ3NDEKTSV4RRFFQ69G5FAV")
            .query_async(&mut connection)
            .await
            .expect("pushed");
    }

    /// One change by a person, committed.
    pub async fn change<T>(
        &self,
        change: impl for<'a> FnOnce(&'a mut shared::database::Connection) -> futures::future::BoxFuture<'a, shared::error::Result<T>>,
    ) -> T {
        let mut transaction = database::begin(&self.stage.pool).await.expect("a transaction");
        let result = change(&mut transaction).await.expect("the change");
        transaction.commit().await.expect("committed");
        result
    }

    pub async fn tally(&self, campaign: Uuid) -> Tally {
        tally::count(&self.stage.pool, campaign).await.expect("a tally")
    }

    /// Waits until the question holds of the campaign's tally; every look must balance.
    pub async fn until(&self, campaign: Uuid, what: &str, holds: impl Fn(&Tally) -> bool) -> Tally {
        let mut last = Tally::default();
        for _ in 0..1_200 {
            last = self.tally(campaign).await;
            if let Some(audience) = last.audience {
                assert_eq!(last.sum(), audience, "it balances at every moment: {last:?}");
            }
            if holds(&last) {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not within a minute: {what}; {last:?}");
    }

    pub async fn until_finished(&self, campaign: Uuid) -> Tally {
        for _ in 0..1_200 {
            let open = self.stage.number("SELECT count(*) FROM campaigns WHERE id = $1 AND finished_at IS NULL", campaign).await;
            if open == 0 {
                let tally = self.tally(campaign).await;
                assert_eq!(Some(tally.sum()), tally.audience, "{tally:?}");
                assert_eq!((tally.pending, tally.deferred, tally.in_flight), (0, 0, 0), "{tally:?}");
                return tally;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not finished within a minute: {:?}", self.tally(campaign).await);
    }
}
