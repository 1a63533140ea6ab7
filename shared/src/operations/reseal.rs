//! Sealing again, under the active key, what an older key sealed: so that the older key can be thrown away. Slice by slice, while servers
//! run; again from wherever it ended.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::{
    database,
    error::Result,
    vault::{self, Vault},
};

/// Every sealed column: table, the row's id, which is the context, and the column. A test reads the schema for columns that are missing
/// here.
pub const COLUMNS: [(&str, &str, &str); 4] = [
    ("dkim_keys", "id", "private_key_sealed"),
    ("feedback_sources", "id", "secret_sealed"),
    ("idempotency_keys", "reserved", "answer_sealed"),
    ("routes", "id", "password_sealed"),
];
/// Rows of one transaction.
const SLICE: i64 = 200;

/// What became of the sealed values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Sealed again.
    pub changed: u64,
    /// Values by the key that they are under now.
    pub by_key: BTreeMap<String, u64>,
    /// What does not open with any key of the ring, as "table id: reason".
    pub broken: Vec<String>,
}

/// Seals again whatever is not under the vault's active key. A value that changes meanwhile is left as it is: it is under the active key
/// then.
///
/// # Errors
/// The database failed; what is committed stays, and the next run goes on.
pub async fn all(pool: &PgPool, vault: &Vault) -> Result<Resealed> {
    let mut resealed = Resealed::default();
    for place in COLUMNS {
        let mut after = Uuid::nil();
        while let Some(last) = slice(pool, vault, place, after, &mut resealed).await? {
            after = last;
        }
    }
    Ok(resealed)
}

/// The slice behind `after`; answers its last row.
async fn slice(
    pool: &PgPool,
    vault: &Vault,
    (table, id_column, column): (&str, &str, &str),
    after: Uuid,
    resealed: &mut Resealed,
) -> Result<Option<Uuid>> {
    let mut transaction = database::begin(pool).await?;
    let select = format!(
        "SELECT {id_column}, {column} FROM {table} WHERE {id_column} > $1 AND {column} IS NOT NULL
         ORDER BY {id_column} LIMIT $2 FOR NO KEY UPDATE"
    );
    let rows: Vec<(Uuid, Vec<u8>)> =
        sqlx::query_as(AssertSqlSafe(select)).bind(after).bind(SLICE).fetch_all(&mut *transaction).await?;
    for (id, sealed) in &rows {
        let key = vault::key_id(sealed).unwrap_or("unreadable").to_owned();
        if key == vault.active_id() {
            *resealed.by_key.entry(key).or_default() += 1;
            continue;
        }
        let again = vault.open(sealed, id.as_bytes()).and_then(|plain| vault.seal(&plain, id.as_bytes()));
        match again {
            Ok(again) => {
                let update = format!("UPDATE {table} SET {column} = $2 WHERE {id_column} = $1");
                sqlx::query(AssertSqlSafe(update)).bind(id).bind(again).execute(&mut *transaction).await?;
                *resealed.by_key.entry(vault.active_id().to_owned()).or_default() += 1;
                resealed.changed += 1;
            }
            Err(reason) => {
                *resealed.by_key.entry(key).or_default() += 1;
                resealed.broken.push(format!("{table} {id}: {reason}"));
            }
        }
    }
    transaction.commit().await?;
    Ok(rows.last().map(|(id, _)| *id))
}
