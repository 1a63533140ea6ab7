//! Group commit: admissions and outcomes of all connections of the process, each as one multi-row statement after another. While one
//! statement is under way the next one's rows gather; where few have come, a statement waits a moment for more, since each costs about
//! the same whatever it carries.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use shared::{
    database::{self, Connection},
    deliveries::ledger::{self, Admission, Admitted, Outcome},
    error::Error,
    operations::installation,
    settings,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::stages::{self, Stage};

/// How long PostgreSQL may take for a statement of the ledger.
const PATIENCE: Duration = Duration::from_secs(30);
/// Rows of one statement at most.
const MOST_ROWS: usize = 1_000;
/// So many rows wait for no others; nor do as many as there are senders: who has sent a row is not likely to send another one at once.
const ENOUGH_ROWS: usize = 24;
/// How long fewer do: nothing beside a message's way to its relay, and a few rows where there are many connections.
const LINGER: Duration = Duration::from_millis(10);

type Ask = (Admission, oneshot::Sender<Option<Admitted>>);
/// The permit is the place that the message takes in its connection's window until its outcome is committed.
type Tell = (Outcome, OwnedSemaphorePermit);

/// The way to the two tasks that own a connection each.
pub struct Ledger {
    admissions: mpsc::UnboundedSender<Ask>,
    outcomes: mpsc::UnboundedSender<Tell>,
    senders: Arc<AtomicUsize>,
}

/// A sender at work, until it is dropped.
pub struct AtWork(Arc<AtomicUsize>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ledger {
    /// Starts the tasks. They end when the ledger is dropped and what it was told is committed.
    #[must_use]
    pub fn start(settings: settings::Database) -> Self {
        Self::with_patience(settings, PATIENCE)
    }

    /// The same with another time that a statement may take.
    #[must_use]
    pub fn with_patience(settings: settings::Database, patience: Duration) -> Self {
        let (admissions, asked) = mpsc::unbounded_channel();
        let (outcomes, told) = mpsc::unbounded_channel();
        let settings = Arc::new(settings);
        let senders = Arc::<AtomicUsize>::default();
        let (asked, told) = (Gathering::new(asked, &senders), Gathering::new(told, &senders));
        tokio::spawn(stages::of(Stage::Ledger, admit(Line::new(settings.clone(), patience), asked)));
        tokio::spawn(stages::of(Stage::Ledger, record(Line::new(settings, patience), told)));
        Self { admissions, outcomes, senders }
    }

    /// Counts a sender among those that rows may be waited for.
    #[must_use]
    pub fn at_work(&self) -> AtWork {
        self.senders.fetch_add(1, Ordering::Relaxed);
        AtWork(self.senders.clone())
    }

    /// Asks for an admission; the answer comes when it is committed. `None`: must not be sent.
    pub fn admit(&self, admission: Admission) -> oneshot::Receiver<Option<Admitted>> {
        let (sender, receiver) = oneshot::channel();
        // A closed channel drops the sender, and the receiver says so.
        let _ = self.admissions.send((admission, sender));
        receiver
    }

    /// Records an outcome; the permit is given back when it is committed, however long PostgreSQL is away.
    pub fn record(&self, outcome: Outcome, permit: OwnedSemaphorePermit) {
        let _ = self.outcomes.send((outcome, permit));
    }
}

/// Rows of the next statement.
struct Gathering<T> {
    queue: mpsc::UnboundedReceiver<T>,
    senders: Arc<AtomicUsize>,
}

impl<T> Gathering<T> {
    fn new(queue: mpsc::UnboundedReceiver<T>, senders: &Arc<AtomicUsize>) -> Self {
        Self { queue, senders: senders.clone() }
    }

    /// None: there will be no more.
    async fn next(&mut self) -> Vec<T> {
        let mut batch = Vec::new();
        let rows = self.queue.recv_many(&mut batch, MOST_ROWS).await;
        let enough = self.senders.load(Ordering::Relaxed).clamp(1, ENOUGH_ROWS);
        if (1..enough).contains(&rows) {
            tokio::time::sleep(LINGER).await;
            while batch.len() < MOST_ROWS
                && let Ok(row) = self.queue.try_recv()
            {
                batch.push(row);
            }
        }
        batch
    }
}

async fn admit(mut line: Line, mut asked: Gathering<Ask>) {
    loop {
        let batch = asked.next().await;
        if batch.is_empty() {
            return;
        }
        let (rows, mut askers): (Vec<Admission>, std::collections::HashMap<i64, oneshot::Sender<Option<Admitted>>>) = {
            let askers = batch.iter().map(|(row, _)| row.attempt_id).collect::<Vec<_>>();
            let (rows, senders): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            (rows, askers.into_iter().zip(senders).collect())
        };
        let begun = std::time::Instant::now();
        let patience = line.patience;
        // The same statement again recognises its own rows.
        let admitted = loop {
            match line.connection_of_the_original().await {
                // A copy of the database has come into its place: nobody is admitted, and the next batch looks again.
                Ok(None) => break Vec::new(),
                Ok(Some(connection)) => match in_time(patience, ledger::admit(connection, &rows)).await {
                    Ok(admitted) => break admitted,
                    Err(error) => line.lost("admit", &error).await,
                },
                Err(error) => line.lost("connect", &error).await,
            }
        };
        metrics::histogram!("ledger_commit_seconds", "kind" => "admission").record(begun.elapsed().as_secs_f64());
        metrics::histogram!("ledger_rows", "kind" => "admission").record(f64::from(u32::try_from(rows.len()).unwrap_or(u32::MAX)));
        for answer in admitted {
            if let Some(asker) = askers.remove(&answer.attempt_id) {
                let _ = asker.send(Some(answer));
            }
        }
        for asker in askers.into_values() {
            let _ = asker.send(None);
        }
    }
}

async fn record(mut line: Line, mut told: Gathering<Tell>) {
    loop {
        let batch = told.next().await;
        if batch.is_empty() {
            return;
        }
        let (rows, permits): (Vec<Outcome>, Vec<OwnedSemaphorePermit>) = batch.into_iter().unzip();
        let begun = std::time::Instant::now();
        let patience = line.patience;
        loop {
            match line.connection().await {
                Ok(connection) => match in_time(patience, ledger::record(connection, &rows)).await {
                    Ok(_) => break,
                    Err(error) => line.lost("record", &error).await,
                },
                Err(error) => line.lost("connect", &error).await,
            }
        }
        metrics::histogram!("ledger_commit_seconds", "kind" => "outcome").record(begun.elapsed().as_secs_f64());
        metrics::histogram!("ledger_rows", "kind" => "outcome").record(f64::from(u32::try_from(rows.len()).unwrap_or(u32::MAX)));
        drop(permits);
    }
}

/// A path that is gone without a word must not hold every connection of the process: both statements may be repeated.
async fn in_time<T>(patience: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(patience, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::internal("PostgreSQL has not answered in time")),
    }
}

/// A connection that is opened again when it is lost.
struct Line {
    settings: Arc<settings::Database>,
    patience: Duration,
    connection: Option<Connection>,
}

impl Line {
    fn new(settings: Arc<settings::Database>, patience: Duration) -> Self {
        Self { settings, patience, connection: None }
    }

    async fn connection(&mut self) -> Result<&mut Connection, Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                in_time(self.patience, async {
                    let mut connection = database::connect(&self.settings, "mochila-ledger").await?;
                    ledger::prepare(&mut connection).await?;
                    Ok(connection)
                })
                .await?
            }
        };
        Ok(self.connection.insert(connection))
    }

    /// As [`Self::connection`], unless what it leads to is a copy of the database that nobody has confirmed. Asked once a connection: a
    /// database cannot be exchanged under one.
    async fn connection_of_the_original(&mut self) -> Result<Option<&mut Connection>, Error> {
        if self.connection.is_none() && in_time(self.patience, installation::is_copy(self.connection().await?)).await? {
            self.connection = None;
            return Ok(None);
        }
        self.connection().await.map(Some)
    }

    async fn lost(&mut self, step: &str, error: &Error) {
        tracing::warn!(%error, step, "the ledger waits for PostgreSQL");
        metrics::counter!("ledger_errors_total").increment(1);
        self.connection = None;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
