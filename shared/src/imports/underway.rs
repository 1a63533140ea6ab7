//! The parts of an import between the file and the commit: one is read, one waits, some are being written, and they are committed in the
//! order of the file. So the database writes on more than one core, and waits for its disk and for us while it writes.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use futures::Stream;
use sqlx::PgPool;
use tokio::{
    select,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::{
    batch::Batch,
    import::Import,
    load::Load,
    part::{self, Place, Written},
    people::{self, Way},
    source::{Source, SourceError},
};
use crate::{
    error::{Error, Result},
    queue::claim::Lease,
    store::StoreError,
};

/// Why a file cannot be loaded further.
#[derive(Debug)]
pub enum Cause {
    /// It cannot be read.
    Read(SourceError),
    /// A part cannot be written: as [`part::Begun::write`] and [`Written::commit`].
    Write(Error),
}

impl From<Error> for Cause {
    fn from(error: Error) -> Self {
        Self::Write(error)
    }
}

type Read = Result<Batch, Cause>;

/// Parts that are written at the same time, each over a connection of its own.
const WRITTEN_AT_ONCE: usize = 2;

/// What is on its way. Dropped, it is given up: parts that are being written run to their end and are rolled back then. They are not cut
/// off, since a connection that is cut off inside BEGIN goes back to the pool inside a transaction.
#[derive(Debug)]
pub struct Underway {
    pool: PgPool,
    lease: Lease,
    import_id: Uuid,
    read: mpsc::Receiver<Read>,
    _reading: AbortOnDropHandle<()>,
    /// Whether nothing follows of what is read.
    over: bool,
    /// Read and not begun, or to be begun again.
    waiting: VecDeque<Arc<Batch>>,
    /// Why the file could not be read further.
    failure: Option<Cause>,
    writing: VecDeque<Writing>,
    /// Of the last of these: resolved once it is begun, or will not be.
    begun: Option<oneshot::Receiver<()>>,
    /// Records of the file before the part that is begun next.
    before: i64,
    /// How it is begun: contacts are looked for while the file has such as are there.
    way: Way,
}

#[derive(Debug)]
struct Part {
    place: Place,
    batch: Arc<Batch>,
    way: Way,
}

#[derive(Debug)]
struct Writing {
    part: Part,
    task: JoinHandle<Result<Written>>,
}

impl Underway {
    /// Goes on in `source`, which stands behind the first `before` records.
    pub fn start<S>(load: Load<'_>, source: Source<S>, before: i64) -> Self
    where
        S: Stream<Item = Result<Bytes, StoreError>> + Unpin + Send + 'static,
    {
        let (sender, read) = mpsc::channel(1);
        Self {
            pool: load.pool.clone(),
            lease: load.lease,
            import_id: load.import_id,
            read,
            _reading: AbortOnDropHandle::new(tokio::spawn(read_on(source, load.part_records, sender))),
            over: false,
            waiting: VecDeque::new(),
            failure: None,
            writing: VecDeque::new(),
            begun: None,
            before,
            way: Way::Copy,
        }
    }

    /// Commits the next part of the file; answers the import as it is then.
    ///
    /// # Errors
    /// [`Cause`]. What is in the file before it stands where it is.
    pub async fn commit_next(&mut self) -> Result<Import, Cause> {
        let (Part { place, batch, mut way }, mut written) = self.next_written().await?;
        while let Err(error) = &written
            && people::came_second(error)
            && let Some(surer) = way.surer()
        {
            // Contacts are there, or somebody else makes them. This part waits for them with nothing written behind it, so that
            // nobody waits for what waits for it.
            self.step_back().await;
            way = surer;
            written = write(None, self.pool.clone(), place, Arc::clone(&batch), way).await;
        }
        let written = written?;
        let all_new = usize::try_from(written.created()).is_ok_and(|created| created == batch.contacts.len());
        self.way = if all_new { Way::Fresh } else { Way::Copy };
        Ok(written.commit(self.lease, &batch).await?)
    }

    /// The first of those that are being written, once it is; others are read and begun meanwhile.
    async fn next_written(&mut self) -> Result<(Part, Result<Written>), Cause> {
        loop {
            self.begin();
            let room = !self.over && self.waiting.is_empty() && self.writing.len() < WRITTEN_AT_ONCE;
            let Some(mut first) = self.writing.pop_front() else {
                if let Some(failure) = self.failure.take() {
                    return Err(failure);
                }
                let read = self.read.recv().await;
                self.receive(read);
                continue;
            };
            select! {
                written = &mut first.task => {
                    return Ok((first.part, written.unwrap_or_else(|error| Err(Error::internal(error)))));
                }
                read = self.read.recv(), if room => self.receive(read),
            }
            self.writing.push_front(first);
        }
    }

    fn receive(&mut self, read: Option<Read>) {
        match read.unwrap_or_else(|| Err(Error::internal("the task that reads the file is gone").into())) {
            Ok(batch) => {
                self.over = batch.last;
                self.waiting.push_back(Arc::new(batch));
            }
            Err(error) => {
                self.over = true;
                self.failure = Some(error);
            }
        }
    }

    /// Begins what waits, as long as it has nobody in common with what is being written.
    fn begin(&mut self) {
        while self.writing.len() < WRITTEN_AT_ONCE
            && let Some(batch) =
                self.waiting.pop_front_if(|batch| !self.writing.iter().any(|other| other.part.batch.shares_an_address(batch)))
        {
            let place = Place { import_id: self.import_id, before: self.before };
            self.before += batch.records;
            let part = Part { place, batch, way: self.way };
            let (begun, next) = oneshot::channel();
            let turn = Turn { before: self.begun.replace(next), begun };
            let task = tokio::spawn(write(Some(turn), self.pool.clone(), place, Arc::clone(&part.batch), part.way));
            self.writing.push_back(Writing { part, task });
        }
    }

    /// Gives up what is being written, waits until it is gone, and begins it again later.
    async fn step_back(&mut self) {
        while let Some(Writing { part, task }) = self.writing.pop_back() {
            self.before = part.place.before;
            self.waiting.push_front(part.batch);
            if let Ok(Ok(written)) = task.await {
                written.roll_back().await;
            }
        }
    }
}

/// Parts are begun one after another, in the order of the file.
struct Turn {
    /// Of the part before: resolved once it is begun, or will not be.
    before: Option<oneshot::Receiver<()>>,
    /// Of this part; dropped once it is begun.
    begun: oneshot::Sender<()>,
}

async fn write(turn: Option<Turn>, pool: PgPool, place: Place, batch: Arc<Batch>, way: Way) -> Result<Written> {
    let begun = match turn {
        Some(Turn { before, begun }) => {
            if let Some(before) = before {
                let _ = before.await;
            }
            let part = part::begin(&pool, place, &batch).await;
            drop(begun);
            part?
        }
        None => part::begin(&pool, place, &batch).await?,
    };
    begun.write(&batch, way).await
}

async fn read_on<S>(mut source: Source<S>, part_records: i64, read: mpsc::Sender<Read>)
where
    S: Stream<Item = Result<Bytes, StoreError>> + Unpin + Send + 'static,
{
    loop {
        let batch = match source.part(part_records).await {
            Ok(part) => Batch::of(part).map_err(Cause::from),
            Err(error) => Err(Cause::Read(error)),
        };
        let over = batch.as_ref().map_or(true, |batch| batch.last);
        if read.send(batch).await.is_err() || over {
            return;
        }
    }
}
