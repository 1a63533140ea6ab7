//! The run of [`super::payload::LoadContacts`]: part by part, each in one fenced transaction with the pointer, the next one being read
//! meanwhile. A run that follows a
//! crash reads the file again and passes over what the pointer says is loaded, so every row is loaded once.

use std::future::Future;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use sqlx::PgPool;
use tokio::{sync::mpsc, task::JoinHandle};
use uuid::Uuid;

use super::{
    batch::Batch,
    import::{self, Import, Report},
    part::{self, Committed},
    source::{Source, SourceError},
};
use crate::{
    error::Error,
    queue::claim::Lease,
    store::{Store, StoreError},
};

/// Records of a part: a fraction of a second in the database, so that a heartbeat that waits for the fence is never late, and enough
/// that what a statement costs by itself does not count.
pub const PART_RECORDS: i64 = 20_000;
/// Records that are passed over between two checkpoints.
const SKIP_RECORDS: i64 = 200_000;

/// Where a run says how far it is and hears whether it is to stop.
pub trait Checkpoint {
    /// Why to stop.
    type Stop: Send;

    /// `done` of `total` bytes of the file are loaded. Both only grow, and the last call names the same number twice.
    fn checkpoint(&mut self, done: i64, total: i64) -> impl Future<Output = Result<(), Self::Stop>> + Send;
}

/// Why a run ended before the file did.
#[derive(Debug)]
pub enum Halt<S> {
    /// The checkpoint said so. What is loaded stays.
    Stopped(S),
    /// The whole file is of no use; the import says it too.
    Refused(String),
    /// Something failed; another run goes on from the pointer.
    Failed(Error),
}

impl<S, E: Into<Error>> From<E> for Halt<S> {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What a run works on.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// PostgreSQL.
    pub pool: &'a PgPool,
    /// Where the file is.
    pub store: &'a Store,
    /// Which import.
    pub import_id: Uuid,
    /// The run's fence.
    pub lease: Lease,
    /// Records of a part: [`PART_RECORDS`].
    pub part_records: i64,
}

impl Load<'_> {
    /// Loads what is not loaded yet.
    ///
    /// # Errors
    /// [`Halt`].
    pub async fn run<C: Checkpoint>(self, checkpoint: &mut C) -> Result<Report, Halt<C::Stop>> {
        if !import::start(self.pool, self.lease, self.import_id).await? {
            return Ok(import::get(self.pool, self.import_id).await?.report());
        }
        match self.parts(checkpoint).await {
            Err(Halt::Refused(failure)) => {
                import::fail(self.pool, self.lease, self.import_id, &failure).await?;
                Err(Halt::Refused(failure))
            }
            other => other,
        }
    }

    async fn parts<C: Checkpoint>(self, checkpoint: &mut C) -> Result<Report, Halt<C::Stop>> {
        let import = import::get(self.pool, self.import_id).await?;
        let bytes = self.store.read(&import.object_key, 0).await?.boxed();
        let mut source = Source::open(bytes).await.map_err(refused)?;
        let mut done = import.records_done;
        let mut skipped = 0;
        while skipped < done {
            let passed = source.skip(SKIP_RECORDS.min(done - skipped)).await?;
            if passed == 0 {
                return Err(Halt::Refused(format!("the file ends after {skipped} records, although {done} of it are loaded")));
            }
            skipped += passed;
            self.tell(checkpoint, &import, import.bytes_done).await?;
        }
        let mut batches = Reading::start(source, self.part_records);
        loop {
            let batch = batches.next().await?;
            match part::commit(self.pool, self.lease, self.import_id, done, &batch).await? {
                Committed::NoList => return Err(Halt::Refused("the list of this import was deleted".to_owned())),
                Committed::Done(import) => {
                    done = import.records_done;
                    if batch.last {
                        // The import is finished: a wish to cancel comes too late.
                        let _ = self.tell(checkpoint, &import, import.size_bytes).await;
                        return Ok(import.report());
                    }
                    self.tell(checkpoint, &import, import.bytes_done).await?;
                }
            }
        }
    }

    async fn tell<C: Checkpoint>(self, checkpoint: &mut C, import: &Import, done: i64) -> Result<(), Halt<C::Stop>> {
        checkpoint.checkpoint(done, import.size_bytes).await.map_err(Halt::Stopped)
    }
}

/// The next part is read while the database takes this one: a task that ends with this.
struct Reading {
    task: JoinHandle<()>,
    batches: mpsc::Receiver<Result<Batch, Error>>,
}

impl Reading {
    fn start<S>(mut source: Source<S>, part_records: i64) -> Self
    where
        S: Stream<Item = Result<Bytes, StoreError>> + Unpin + Send + 'static,
    {
        // One being committed, one waiting, one being read.
        let (sender, batches) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            loop {
                let batch = match source.part(part_records).await {
                    Ok(part) => Batch::of(part),
                    Err(error) => Err(error.into()),
                };
                let over = batch.as_ref().map_or(true, |batch| batch.last);
                if sender.send(batch).await.is_err() || over {
                    return;
                }
            }
        });
        Self { task, batches }
    }

    async fn next(&mut self) -> Result<Batch, Error> {
        self.batches.recv().await.unwrap_or_else(|| Err(Error::Internal("the task that reads the file is gone".to_owned())))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn refused<S>(error: SourceError) -> Halt<S> {
    match error {
        SourceError::Refused(failure) => Halt::Refused(failure),
        SourceError::Store(error) => Halt::Failed(error.into()),
    }
}
