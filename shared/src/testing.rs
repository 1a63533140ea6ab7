//! A database of its own, a key prefix of its own and a clock that stands still, for every test that touches the real parts.
//!
//! `DATABASE_URL` and `REDIS_URL` name the servers; `deploy/local test` sets them.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use sqlx::{
    Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

use crate::{clock::Clock, database, settings::Settings};

/// The real parts, for one test.
pub struct Stage {
    /// A migrated, empty database.
    pub pool: PgPool,
    /// Settings that point at it, at Redis with a prefix of its own, and at a private folder.
    pub settings: Settings,
    /// Stands at 2026-01-15 12:00:00 UTC.
    pub clock: Clock,
}

fn server(variable: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "where the servers are is not a setting of the product")]
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run deploy/local test, or . .local/test.env"))
}

impl Stage {
    /// Makes the database from a template that is migrated once per schema.
    ///
    /// # Panics
    /// The servers cannot be reached.
    pub async fn new() -> Self {
        let mut settings = Settings::sample();
        let name = format!("test_{}", Uuid::now_v7().simple());
        let server_url = server("DATABASE_URL");
        let options = PgConnectOptions::from_str(&server_url).expect("DATABASE_URL is well-formed");
        let mut admin = PgConnection::connect_with(&options).await.expect("PostgreSQL answers");
        let template = template(&mut admin, &options).await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log")))
            .execute(&mut admin)
            .await
            .expect("the test's database");
        let mut url = url::Url::parse(&server_url).expect("DATABASE_URL is an URL");
        url.set_path(&name);
        settings.database.url = url.to_string().into();
        settings.redis.url = server("REDIS_URL").into();
        settings.redis.prefix = name.clone();
        settings.store.url = format!("file://{}", std::env::temp_dir().join(&name).display());
        let pool = PgPoolOptions::new()
            .max_connections(10)
            .connect_with(database::options(&settings.database, "test").expect("the address is well-formed"))
            .await
            .expect("the test's database answers");
        let noon: DateTime<Utc> = "2026-01-15T12:00:00Z".parse().expect("a date");
        Self { pool, settings, clock: Clock::fixed(noon) }
    }

    /// A workspace called `name`.
    ///
    /// # Panics
    /// The database refused.
    pub async fn workspace(&self, name: &str) -> Uuid {
        let id = Uuid::now_v7();
        sqlx::query("INSERT INTO workspaces (id, name) VALUES ($1, $2)")
            .bind(id)
            .bind(name)
            .execute(&self.pool)
            .await
            .expect("a workspace");
        id
    }
}

/// The template of this schema; the first test makes it, the others wait for it.
async fn template(admin: &mut PgConnection, options: &PgConnectOptions) -> String {
    let fingerprint = database::MIGRATIONS.iter().fold(0_u64, |hash, migration| {
        migration.checksum.iter().fold(hash, |hash, byte| hash.wrapping_mul(1_099_511_628_211) ^ u64::from(*byte))
    });
    let name = format!("template_{fingerprint:016x}");
    sqlx::query("SELECT pg_advisory_lock(4711)").execute(&mut *admin).await.expect("the lock");
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)")
        .bind(&name)
        .fetch_one(&mut *admin)
        .await
        .expect("the list of databases");
    if !exists {
        let unfinished = format!("{name}_{}", Uuid::now_v7().simple());
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {unfinished}"))).execute(&mut *admin).await.expect("a template");
        let mut connection = PgConnection::connect_with(&options.clone().database(&unfinished)).await.expect("the template");
        database::MIGRATIONS.run(&mut connection).await.expect("the migrations");
        connection.close().await.expect("closed");
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("ALTER DATABASE {unfinished} RENAME TO {name}")))
            .execute(&mut *admin)
            .await
            .expect("the template's name");
    }
    sqlx::query("SELECT pg_advisory_unlock(4711)").execute(&mut *admin).await.expect("unlocked");
    name
}
