//! PostgreSQL: reachable, new enough, our schema, the time, room for our connections; and whether it may send.

use std::path::Path;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::{Check, process, skew};
use crate::{
    clock::Clock,
    database,
    error::Result,
    operations::sending::{self, Hold},
};

/// The oldest version that the migrations run on and the tests are run with.
const OLDEST: i32 = 150_000;

/// Looks; `connections` are what one process of ours takes.
pub async fn look(pool: &PgPool, connections: u32, clock: &Clock) -> Vec<Check> {
    let mut checks = Vec::new();
    let version: Result<(i32, String), sqlx::Error> =
        sqlx::query_as("SELECT current_setting('server_version_num')::int, current_setting('server_version')")
            .fetch_one(pool)
            .await;
    match version {
        Err(error) => {
            return vec![Check::fail("postgres", format!("does not answer: {error}"), "start PostgreSQL, or correct database.url")];
        }
        Ok((number, name)) if number < OLDEST => {
            checks.push(Check::fail("postgres", format!("is version {name}"), "run PostgreSQL 15 or newer"));
        }
        Ok((_, name)) => checks.push(Check::ok("postgres", format!("answers, version {name}"))),
    }
    checks.push(match database::check_schema(pool).await {
        Ok(()) => Check::ok("postgres.schema", "is the one that this build knows"),
        Err(unfit @ database::SchemaError::Ahead { .. }) => {
            Check::fail("postgres.schema", unfit.to_string(), "deploy the newer build")
        }
        Err(unfit) => Check::fail("postgres.schema", unfit.to_string(), "mochila-api migrate"),
    });
    let begun = clock.now();
    if let Ok(theirs) = sqlx::query_scalar::<_, DateTime<Utc>>("SELECT clock_timestamp()").fetch_one(pool).await {
        let ours = begun + (clock.now() - begun) / 2;
        checks.push(skew("postgres.clock", (theirs - ours).as_seconds_f64()));
    }
    if let Ok(check) = room(pool, connections).await {
        checks.push(check);
    }
    checks.push(disk(pool).await);
    if let Ok(mut connection) = pool.acquire().await
        && let Ok(standing) = sending::standing(&mut connection).await
    {
        checks.push(match standing.hold {
            None => Check::ok("sending", "is on"),
            Some(Hold::Restored) => Check::warn(
                "sending",
                "this database is a copy that nobody has confirmed: nothing is sent",
                "stop the original, then mochila-worker confirm-restore",
            ),
            Some(_) => Check::warn("sending", "an operator has paused it", "mochila-worker resume-sending"),
        });
    }
    checks
}

/// The disk of the tables, where it can be seen from here: on this machine, by a role that may know the folder.
async fn disk(pool: &PgPool) -> Check {
    let name = "postgres.disk";
    let here = "SELECT current_setting('data_directory') WHERE coalesce(inet_server_addr() = inet_client_addr(), true)";
    if let Ok(Some(folder)) = sqlx::query_scalar::<_, String>(here).fetch_optional(pool).await
        && Path::new(&folder).exists()
    {
        return process::disk(name, Path::new(&folder), "make room: [retention] says how long rows are kept");
    }
    match sqlx::query_scalar::<_, String>("SELECT pg_size_pretty(pg_database_size(current_database()))").fetch_one(pool).await {
        Ok(size) => Check::ok(name, format!("the database takes {size}; the room that is left is not to be seen from here")),
        Err(error) => Check::warn(name, format!("the size of the database is not known: {error}"), "look at PostgreSQL's disk"),
    }
}

async fn room(pool: &PgPool, connections: u32) -> Result<Check> {
    let (most, taken): (i64, i64) = sqlx::query_as(
        "SELECT current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint,
                (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')",
    )
    .fetch_one(pool)
    .await?;
    Ok(budget(i64::from(connections), most, taken))
}

/// The rule: one more process of ours must find room.
fn budget(wanted: i64, most: i64, taken: i64) -> Check {
    let says = format!("a process takes up to {wanted}; {taken} of {most} are in use");
    let mend = "raise max_connections of PostgreSQL, or lower database.max_connections";
    if wanted > most {
        Check::fail("postgres.connections", says, mend)
    } else if taken + wanted > most {
        Check::warn("postgres.connections", says, mend)
    } else {
        Check::ok("postgres.connections", says)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    #[test]
    fn a_process_that_does_not_fit_fails_and_one_more_that_does_not_warns() {
        assert_eq!(
            [(97, 5), (30, 5), (20, 5)].map(|(most, taken)| budget(25, most, taken).verdict),
            [Verdict::Ok, Verdict::Ok, Verdict::Fail]
        );
        assert_eq!(budget(25, 29, 5).verdict, Verdict::Warn);
    }
}
