//! The one file that knows apalis' workers. One worker a lane; when it dies, because Redis failed or stalled or was flushed, it is built
//! again under a new name. What it carried goes on: runs are tasks of the desk.

use std::{sync::Arc, time::Duration};

use apalis::layers::WorkerBuilderExt;
use apalis_core::{
    backend::{codec::Codec, ext::BackendExt},
    task::data::Data,
    worker::builder::WorkerBuilder,
};
use apalis_redis::RedisStorage;
use futures::FutureExt;
use shared::{
    keyspace::Keyspace,
    queue::{
        lane::Lane,
        ticket::{Tickets, config},
    },
};
use uuid::Uuid;

use crate::{desk::Desk, heart::hostname};

/// Bytes as they are: with any other codec one ticket that cannot be decoded ends every worker that meets it.
#[derive(Clone, Debug, Default)]
struct Plain;

impl Codec<Vec<u8>> for Plain {
    type Error = std::convert::Infallible;
    type Compact = Vec<u8>;

    fn encode(&self, value: &Vec<u8>) -> Result<Vec<u8>, Self::Error> {
        Ok(value.clone())
    }

    fn decode(&self, value: &Vec<u8>) -> Result<Vec<u8>, Self::Error> {
        Ok(value.clone())
    }
}

async fn handle(ticket: Vec<u8>, desk: Data<(Arc<Desk>, Lane)>) {
    let (desk, lane) = &*desk;
    desk.serve(*lane, &ticket).await;
}

/// Serves a lane with this many tickets at once, until the desk closes.
pub async fn serve(desk: Arc<Desk>, keyspace: Keyspace, lane: Lane, slots: usize) {
    let tickets = Tickets::new(keyspace.clone());
    let queue = &desk.settings.queue;
    let poll =
        Duration::from_millis(if lane == Lane::Critical { queue.critical_poll_ms.min(queue.poll_ms) } else { queue.poll_ms });
    let mut delay = Duration::from_millis(100);
    while !desk.closing.is_cancelled() {
        let name = format!("{}-{}-{}", hostname(), std::process::id(), Uuid::now_v7().simple());
        let storage = RedisStorage::<Vec<u8>>::new(keyspace.connection())
            .with_config(config(&keyspace, lane))
            .poll_with_interval(poll)
            .with_codec(Plain);
        let worker = WorkerBuilder::new(&*name).backend(storage).data((desk.clone(), lane)).concurrency(slots).build(handle);
        let begun = std::time::Instant::now();
        tokio::select! {
            // Dropping the worker ends its fetching; what its handlers wait for goes on. Its own graceful stop can hang.
            () = desk.closing.cancelled() => {}
            result = worker.run().boxed() => {
                metrics::counter!("apalis_worker_restarts_total", "lane" => lane.name()).increment(1);
                if let Err(error) = result {
                    tracing::warn!(%error, %lane, "the apalis worker ended; building another");
                }
            }
        }
        if let Err(error) = tickets.goodbye(lane, &name).await {
            tracing::debug!(%error, %lane, "could not sign the apalis worker off");
        }
        delay = if begun.elapsed() > Duration::from_secs(30) {
            Duration::from_millis(100)
        } else {
            (delay * 2).min(Duration::from_secs(2))
        };
        tokio::select! {
            () = desk.closing.cancelled() => {}
            () = tokio::time::sleep(delay) => {}
        }
    }
}
