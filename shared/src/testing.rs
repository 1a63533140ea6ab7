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

use crate::{
    campaigns::payload::LaunchCampaign,
    clock::Clock,
    database, operations,
    queue::job::{self, Enqueue},
    settings::Settings,
};

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
        // As `mochila-api migrate` does; the template is nobody's installation.
        operations::installation::begin(&pool).await.expect("the installation");
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

    /// Runs SQL that only a test would run, such as a state that a worker would have written.
    ///
    /// # Panics
    /// The database refused.
    pub async fn arrange(&self, sql: String) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&self.pool).await.expect("the statement");
    }
}

impl Stage {
    /// A backup of this stage's database, restored into a new one, with everything else as here: `pg_dump`, then `pg_restore`.
    ///
    /// # Panics
    /// PostgreSQL's programs are missing, or refuse.
    pub async fn restored(&self) -> Self {
        let name = format!("test_{}", Uuid::now_v7().simple());
        let mut admin = PgConnection::connect_with(&PgConnectOptions::from_str(&server("DATABASE_URL")).expect("an address"))
            .await
            .expect("a server");
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut admin).await.expect("a database");
        let mut url = url::Url::parse(self.settings.database.url.expose()).expect("an address");
        url.set_path(&name);
        let mut settings = self.settings.clone();
        settings.database.url = url.to_string().into();
        self.backup_into(&settings.database, &[]).await;
        let pool = database::pool(&settings.database, "test").expect("the address is well-formed");
        Self { pool, settings, clock: self.clock.clone() }
    }

    /// Restores a backup of this stage's database into that one, with more arguments for `pg_restore`.
    ///
    /// # Panics
    /// As [`Self::restored`].
    pub async fn backup_into(&self, target: &crate::settings::Database, more: &[&str]) {
        let file = std::env::temp_dir().join(format!("{}.dump", Uuid::now_v7().simple()));
        let path = file.display().to_string();
        let run = async |program: &str, arguments: Vec<&str>| {
            let output = tokio::process::Command::new(program).args(arguments).output().await.expect("the program");
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        };
        run("pg_dump", vec!["--format=custom", "--file", &path, "--dbname", self.settings.database.url.expose()]).await;
        let mut arguments = vec!["--exit-on-error", "--dbname", target.url.expose()];
        arguments.extend(more);
        arguments.push(&path);
        run("pg_restore", arguments).await;
        std::fs::remove_file(file).expect("removed");
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

/// A campaign that is being launched, with everything that it needs.
pub struct Fixture {
    /// Its workspace.
    pub workspace_id: Uuid,
    /// Its one list.
    pub list_id: Uuid,
    /// Itself.
    pub campaign_id: Uuid,
}

impl Stage {
    /// Runs statements that take no values.
    ///
    /// # Panics
    /// The database refused.
    pub async fn execute(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.pool).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The one number that a question answers, which may take an id as `$1`.
    ///
    /// # Panics
    /// The database refused.
    pub async fn number(&self, sql: &'static str, id: Uuid) -> i64 {
        let query = sqlx::query_scalar::<_, i64>(sql);
        let query = if sql.contains("$1") { query.bind(id) } else { query };
        query.fetch_one(&self.pool).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The one text that a question answers, which may take a text as `$1`.
    ///
    /// # Panics
    /// The database refused.
    pub async fn text(&self, sql: &'static str, value: &str) -> String {
        let query = sqlx::query_scalar::<_, String>(sql);
        let query = if sql.contains("$1") { query.bind(value) } else { query };
        query.fetch_one(&self.pool).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// What stands in every table, as a fingerprint of each: two that are equal had no write between them.
    ///
    /// # Panics
    /// The database refused.
    pub async fn contents(&self) -> std::collections::BTreeMap<String, String> {
        let tables: Vec<String> = sqlx::query_scalar("SELECT relname::text FROM pg_stat_user_tables WHERE schemaname = 'public'")
            .fetch_all(&self.pool)
            .await
            .expect("the tables");
        let mut contents = std::collections::BTreeMap::new();
        for table in tables {
            let sql = format!("SELECT coalesce(md5(string_agg(t::text, chr(10) ORDER BY t::text)), '') FROM {table} t");
            let found = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&self.pool).await.expect("its rows");
            contents.insert(table, found);
        }
        contents
    }

    /// A relay without encryption on this port of loopback.
    ///
    /// # Panics
    /// The database refused.
    pub async fn route(&self, port: u16) -> Uuid {
        let id = Uuid::now_v7();
        sqlx::query("INSERT INTO routes (id, name, kind, url, tls, max_connections) VALUES ($1, $2, 'relay', $3, 'none', 1000)")
            .bind(id)
            .bind(format!("relay {port}"))
            .bind(format!("smtp://127.0.0.1:{port}"))
            .execute(&self.pool)
            .await
            .expect("a route");
        id
    }

    /// A domain that mail of the workspace may come from, as if it were verified; it has no keys.
    ///
    /// # Panics
    /// The database refused.
    pub async fn verified_domain(&self, workspace_id: Uuid, domain: &str) -> Uuid {
        let id = Uuid::now_v7();
        sqlx::query(
            "INSERT INTO sending_domains (id, workspace_id, domain, state, ownership_token, return_path_host, verified_at, check_due_at)
             VALUES ($1, $2, $3, 'verified', 'sample', 'bounces.' || $3, now(), 'infinity')",
        )
        .bind(id)
        .bind(workspace_id)
        .bind(domain)
        .execute(&self.pool)
        .await
        .expect("a domain");
        id
    }

    /// A workspace with a list of so many subscribed contacts per domain, and a campaign to it, launched just now: its LaunchCampaign job
    /// is in line.
    ///
    /// # Panics
    /// The database refused.
    pub async fn campaign(&self, audience: &[(&str, i32)]) -> Fixture {
        let workspace_id = self.workspace("sample").await;
        let (list_id, campaign_id) = (Uuid::now_v7(), Uuid::now_v7());
        // One workspace alone can verify a domain.
        let number: i64 = sqlx::query_scalar("SELECT count(*) FROM sending_domains").fetch_one(&self.pool).await.expect("a number");
        let domain = if number == 0 { "example.com".to_owned() } else { format!("sample-{number}.example.com") };
        self.verified_domain(workspace_id, &domain).await;
        sqlx::query("INSERT INTO lists (id, workspace_id, name) VALUES ($1, $2, 'sample')")
            .bind(list_id)
            .bind(workspace_id)
            .execute(&self.pool)
            .await
            .expect("a list");
        for (domain, count) in audience {
            sqlx::query(
                "WITH made AS (
                     INSERT INTO contacts (id, workspace_id, email, name, attributes)
                     SELECT uuid_v7(), $1, 'sample-' || n || '@' || $2, 'Sample ' || n, '{\"city\": \"Sampleton\"}'
                     FROM generate_series(1, $3) n RETURNING id)
                 INSERT INTO list_members (list_id, contact_id) SELECT $4, id FROM made",
            )
            .bind(workspace_id)
            .bind(domain)
            .bind(count)
            .bind(list_id)
            .execute(&self.pool)
            .await
            .expect("contacts");
        }
        sqlx::query(
            "INSERT INTO campaigns (id, workspace_id, name, subject, from_name, from_email, html, list_ids, state, launched_at)
             VALUES ($1, $2, 'Sample', 'Hello {{ contact.name }}', 'Sample Sender', $4,
                     '<p>Hello {{ contact.name }}</p><p><a href=\"{{ unsubscribe_url }}\">Unsubscribe</a></p>', ARRAY[$3], 'sending',
                     clock_timestamp())",
        )
        .bind(campaign_id)
        .bind(workspace_id)
        .bind(list_id)
        .bind(format!("sender@{domain}"))
        .execute(&self.pool)
        .await
        .expect("a campaign");
        let options = Enqueue {
            workspace_id: Some(workspace_id),
            flow: format!("campaign {campaign_id}"),
            campaign_id: Some(campaign_id),
            priority: 10,
            unique_key: Some(campaign_id.to_string()),
            ..Enqueue::default()
        };
        let mut connection = self.pool.acquire().await.expect("a connection");
        job::enqueue(&mut connection, &LaunchCampaign { campaign_id }, options).await.expect("the launch");
        Fixture { workspace_id, list_id, campaign_id }
    }
}
