//! The connection to PostgreSQL, and the schema that this build knows.

use std::{
    future::Future,
    pin::Pin,
    str::FromStr,
    task::{Context, Poll, ready},
    time::Duration,
};

use sqlx::{
    ConnectOptions, PgPool, Postgres, Transaction,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::runtime::Handle;

use crate::settings;

/// The migrations that this build knows, embedded.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// Why the schema does not fit.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// Migrations are missing.
    #[error("the schema is at version {found}, this build needs {needed}: run mochila-api migrate")]
    Behind {
        /// Version in the database; 0 where nothing was ever migrated.
        found: i64,
        /// The newest version that this build knows.
        needed: i64,
    },
    /// A newer build has migrated.
    #[error("the schema is at version {found}, this build knows {needed} at most: deploy the newer build")]
    Ahead {
        /// Version in the database.
        found: i64,
        /// The newest version that this build knows.
        needed: i64,
    },
    /// The question failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Options of every connection: statements that hang are cut, a session that stalls inside a transaction (a stopped process)
/// releases its locks.
///
/// # Errors
/// The address is malformed.
pub fn options(database: &settings::Database, application: &str) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(PgConnectOptions::from_str(database.url.expose())?
        .application_name(application)
        .options([
            ("idle_in_transaction_session_timeout", "10s"),
            // No statement here runs long enough to earn back a second of compiling; a plan that may not read whole tables looks as if.
            ("jit", "off"),
            ("lock_timeout", "15s"),
            ("statement_timeout", "120s"),
            ("timezone", "UTC"),
        ])
        .log_statements(tracing::log::LevelFilter::Trace)
        .log_slow_statements(tracing::log::LevelFilter::Warn, Duration::from_secs(2)))
}

/// A connection that waited for less is taken to be open.
const TRUSTED: Duration = Duration::from_secs(1);

/// A pool that is made at once and connects when first used. A caller waits 3 s at most for a connection, so that a database
/// that is down is an answer, not a hang.
///
/// # Errors
/// The address is malformed.
pub fn pool(database: &settings::Database, application: &str) -> Result<PgPool, sqlx::Error> {
    Ok(PgPoolOptions::new()
        .max_connections(database.max_connections)
        .acquire_timeout(Duration::from_secs(3))
        // One that was just used is there; asking it each time would be a second round trip for every statement.
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for >= TRUSTED {
                    sqlx::Connection::ping(connection).await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options(database, application)?))
}

/// Begins a transaction. Dropped on its way, it still gets there, in a task of its own, and is rolled back: a connection that is left
/// between BEGIN and its answer would go back to the pool inside a transaction, and whoever has it next would lose what it writes.
///
/// # Errors
/// No connection was to be had, or PostgreSQL refused.
pub fn begin(pool: &PgPool) -> impl Future<Output = Result<Transaction<'static, Postgres>, sqlx::Error>> + Send + 'static {
    let pool = pool.clone();
    #[expect(clippy::disallowed_methods, reason = "the one place")]
    Whole(Some(Box::pin(async move { pool.begin().await })))
}

/// Goes on by itself if it is dropped before its end.
struct Whole<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> Future for Whole<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(future) = &mut self.0 else { return Poll::Pending };
        let output = ready!(future.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(output)
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Whole<F> {
    fn drop(&mut self) {
        if let (Some(future), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(future);
        }
    }
}

/// Connections that [`beside`] opens at most.
pub const FEW: u32 = 4;

/// A small pool to the same database, for statements that are asked all the time: few connections that are used again while all that they
/// touch is still in the processor's caches, where the large pool takes each of its connections in turn.
#[must_use]
pub fn beside(pool: &PgPool) -> PgPool {
    let options = pool.options().clone();
    let connections = options.get_max_connections().min(FEW);
    options.min_connections(0).max_connections(connections).connect_lazy_with((*pool.connect_options()).clone())
}

/// One connection outside any pool.
pub type Connection = sqlx::PgConnection;

/// Opens one connection outside any pool, for a task that must never wait for others.
///
/// # Errors
/// PostgreSQL cannot be reached.
pub async fn connect(database: &settings::Database, application: &str) -> Result<Connection, sqlx::Error> {
    options(database, application)?.connect().await
}

/// Whether the connection answers.
///
/// # Errors
/// It does not.
pub async fn ping(connection: &mut Connection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT 1").execute(connection).await.map(|_| ())
}

/// Brings the schema to the newest version that this build knows.
///
/// # Errors
/// A migration failed; those before it stay.
pub async fn migrate(pool: &PgPool) -> Result<(), sqlx::migrate::MigrateError> {
    MIGRATIONS.run(pool).await
}

/// Whether the schema is the one that this build knows.
///
/// # Errors
/// [`SchemaError`] says what to do.
pub async fn check_schema(pool: &PgPool) -> Result<(), SchemaError> {
    let needed = MIGRATIONS.iter().map(|m| m.version).max().unwrap_or(0);
    let migrated: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(pool).await?;
    let found: i64 = if migrated {
        sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success").fetch_one(pool).await?
    } else {
        0
    };
    match found.cmp(&needed) {
        std::cmp::Ordering::Less => Err(SchemaError::Behind { found, needed }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(SchemaError::Ahead { found, needed }),
    }
}

/// Returns once PostgreSQL answers with the schema that this build knows; while it does not answer, it is asked again every second.
///
/// # Errors
/// The schema is another one: waiting does not help.
pub async fn wait_for_schema(pool: &PgPool) -> Result<(), SchemaError> {
    let mut told = false;
    loop {
        match check_schema(pool).await {
            Err(SchemaError::Database(error)) => {
                if !told {
                    tracing::error!(error.full = %error, "PostgreSQL does not answer; asking until it does");
                    told = true;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            known_or_unfit => return known_or_unfit,
        }
    }
}
