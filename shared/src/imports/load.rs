//! The run of [`super::payload::LoadContacts`]: part by part, each in one fenced transaction with the pointer. A run that follows a crash
//! reads the file again and passes over what the pointer says is loaded, so every row is loaded once.

use std::future::Future;

use futures::StreamExt;
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    import::{self, Import, Report},
    part,
    source::{Source, SourceError},
    underway::{Cause, Underway},
};
use crate::{error::Error, queue::claim::Lease, store::Store};

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
        let done = import.records_done;
        let mut skipped = 0;
        while skipped < done {
            let passed = source.skip(SKIP_RECORDS.min(done - skipped)).await.map_err(refused)?;
            if passed == 0 {
                return Err(Halt::Refused(format!("the file ends after {skipped} records, although {done} of it are loaded")));
            }
            skipped += passed;
            self.tell(checkpoint, &import, import.bytes_done).await?;
        }
        let mut underway = Underway::start(self, source, done);
        loop {
            let import = match underway.commit_next().await {
                Err(Cause::Write(error)) if part::list_is_gone(&error) => {
                    return Err(Halt::Refused("the list of this import was deleted".to_owned()));
                }
                Err(Cause::Write(error)) => return Err(error.into()),
                Err(Cause::Read(error)) => return Err(refused(error)),
                Ok(import) => import,
            };
            if import.state == "finished" {
                // A wish to cancel comes too late.
                let _ = self.tell(checkpoint, &import, import.size_bytes).await;
                return Ok(import.report());
            }
            self.tell(checkpoint, &import, import.bytes_done).await?;
        }
    }

    async fn tell<C: Checkpoint>(self, checkpoint: &mut C, import: &Import, done: i64) -> Result<(), Halt<C::Stop>> {
        checkpoint.checkpoint(done, import.size_bytes).await.map_err(Halt::Stopped)
    }
}

fn refused<S>(error: SourceError) -> Halt<S> {
    match error {
        SourceError::Refused(failure) => Halt::Refused(failure),
        SourceError::Store(error) => Halt::Failed(error.into()),
    }
}
