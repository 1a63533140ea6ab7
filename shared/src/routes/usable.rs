//! What senders ask: the routes that may be taken, with their credentials opened.

use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    settings::Secret,
    vault::Vault,
};

/// A route that may be taken.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns are described in migrations/0005_campaigns.sql")]
pub struct Usable {
    pub id: Uuid,
    pub name: String,
    pub host: String,
    pub port: u16,
    pub tls: String,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub max_connections: u32,
    pub rate_per_second: Option<f64>,
    pub weight: u32,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    name: String,
    url: String,
    tls: String,
    username: Option<String>,
    password_sealed: Option<Vec<u8>>,
    max_connections: i32,
    rate_per_second: Option<f64>,
    weight: i32,
}

/// Every route that is not disabled. One whose credentials cannot be opened is left out, and the log says so: the others go on.
///
/// # Errors
/// The database failed.
pub async fn all(pool: &PgPool, vault: &Vault) -> Result<Vec<Usable>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, name, url, tls, username, password_sealed, max_connections, rate_per_second, weight
         FROM routes WHERE disabled_at IS NULL ORDER BY id",
    )
    .fetch_all(pool)
    .await?;
    let mut usable = Vec::with_capacity(rows.len());
    for row in rows {
        let (id, name) = (row.id, row.name.clone());
        match open(row, vault) {
            Ok(route) => usable.push(route),
            Err(error) => tracing::error!(route.id = %id, route.name = name, %error, "a route cannot be used"),
        }
    }
    Ok(usable)
}

/// How many routes are not disabled.
///
/// # Errors
/// The database failed.
pub async fn active(pool: &PgPool) -> Result<usize> {
    let active: i64 = sqlx::query_scalar("SELECT count(*) FROM routes WHERE disabled_at IS NULL").fetch_one(pool).await?;
    Ok(usize::try_from(active).unwrap_or(0))
}

fn open(row: Row, vault: &Vault) -> Result<Usable> {
    let url = url::Url::parse(&row.url).map_err(Error::internal)?;
    let password = match row.password_sealed {
        Some(sealed) => {
            let plain = vault.open(&sealed, row.id.as_bytes()).map_err(Error::internal)?;
            Some(Secret::from(String::from_utf8(plain).map_err(Error::internal)?))
        }
        None => None,
    };
    Ok(Usable {
        id: row.id,
        name: row.name,
        host: url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
        port: url.port().unwrap_or(25),
        tls: row.tls,
        username: row.username,
        password,
        max_connections: u32::try_from(row.max_connections).unwrap_or(1),
        rate_per_second: row.rate_per_second,
        weight: u32::try_from(row.weight).unwrap_or(0),
    })
}
