//! The table of keys. Leases use the database's clock, the day for which an answer is kept the injected one.
//!
//! An answer may hold a secret that is told once, and a body may hold a password: the one is kept sealed, of the other a mark.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{FromRow, PgPool, types::Json};
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    vault::Vault,
};

/// Seconds after which a run that no longer renews is taken for dead.
pub const LEASE_SECONDS: u32 = 30;
/// How long an answer is kept.
pub const KEPT: TimeDelta = TimeDelta::hours(24);
/// Longest key in characters.
pub const LONGEST_KEY: usize = 255;

/// What a request says of itself.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Whose key it is: two users may use the same one.
    pub user_id: Uuid,
    /// 1 to 255 visible ASCII characters, see [`check`].
    pub key: String,
    /// What else must be the same: method, path, workspace, media type.
    pub operation: String,
    /// The body's [`super::fingerprint`], unless it is yet to be read.
    pub fingerprint: Option<Vec<u8>>,
}

/// The right to run a request.
#[derive(Clone, Debug)]
pub struct Run {
    user_id: Uuid,
    key: String,
    owner: Uuid,
    /// For what it makes, see [`super::reserved`].
    pub reserved: Uuid,
}

/// What a run answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200 to 299.
    pub status: u16,
    /// Those that matter, by name.
    pub headers: Vec<(String, String)>,
    /// As it was sent.
    pub body: Vec<u8>,
}

/// What is to be done with a request.
#[derive(Clone, Debug)]
pub enum Begun {
    /// Run it, and [`Run::finish`] or [`Run::free`] it.
    Run(Run),
    /// It was done. Where the body was yet to be read, it must have this mark.
    Done(Answer, Option<Mark>),
    /// It is being done.
    Busy,
    /// The key stands for another request.
    Other,
}

/// What is kept of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(Vec<u8>);

impl Mark {
    /// Whether this is the body's fingerprint.
    #[must_use]
    pub fn is_of(&self, vault: &Vault, fingerprint: &[u8]) -> bool {
        marks(vault, fingerprint).contains(&self.0)
    }
}

/// What may stand in the table for a body, the one to write first. The last one is what stood there before marks were.
fn marks(vault: &Vault, fingerprint: &[u8]) -> Vec<Vec<u8>> {
    let mut marks = vault.marks(fingerprint);
    marks.push(fingerprint.to_vec());
    marks
}

/// Whether a key is well-formed.
///
/// # Errors
/// [`Error::Invalid`] names the header.
pub fn check(key: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(key).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    match text {
        Some(text) if (1..=LONGEST_KEY).contains(&text.len()) => Ok(text.to_owned()),
        _ => Err(Error::invalid("Idempotency-Key", format!("must be 1 to {LONGEST_KEY} visible ASCII characters without spaces"))),
    }
}

#[derive(FromRow)]
struct Row {
    operation: String,
    body_hash: Option<Vec<u8>>,
    status: Option<i16>,
    headers: Option<Json<Vec<(String, String)>>>,
    answer_sealed: Option<Vec<u8>>,
    /// Of before answers were sealed.
    body: Option<Vec<u8>>,
    reserved: Uuid,
}

/// Finds out what is to be done. Of several at once exactly one runs.
///
/// # Errors
/// The database failed. [`Error::Conflict`]: the answer was sealed under a key that we have no more.
pub async fn begin(pool: &PgPool, vault: &Vault, asked: &Asked, now: DateTime<Utc>) -> Result<Begun> {
    let marks = asked.fingerprint.as_ref().map(|fingerprint| marks(vault, fingerprint));
    // A row that is freed between the two statements is tried for again.
    for _ in 0..3 {
        if let Some(run) = take(pool, asked, marks.as_deref(), now).await? {
            return Ok(Begun::Run(run));
        }
        let row: Option<Row> = sqlx::query_as(
            "SELECT operation, body_hash, status, headers, answer_sealed, body, reserved FROM idempotency_keys
             WHERE user_id = $1 AND key = $2 AND expires_at > $3",
        )
        .bind(asked.user_id)
        .bind(&asked.key)
        .bind(now)
        .fetch_optional(pool)
        .await?;
        if let Some(row) = row {
            return judge(row, asked, marks.as_deref(), vault);
        }
    }
    Ok(Begun::Busy)
}

async fn take(pool: &PgPool, asked: &Asked, marks: Option<&[Vec<u8>]>, now: DateTime<Utc>) -> Result<Option<Run>> {
    let (owner, reserved) = (Uuid::now_v7(), Uuid::now_v7());
    let reserved: Option<Uuid> = sqlx::query_scalar(
        "INSERT INTO idempotency_keys AS k (user_id, key, operation, body_hash, owner, reserved, lease_until, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp() + make_interval(secs => $7), $8)
         ON CONFLICT (user_id, key) DO UPDATE SET operation = excluded.operation, body_hash = excluded.body_hash, owner = excluded.owner,
             reserved = CASE WHEN k.expires_at <= $9 THEN excluded.reserved ELSE k.reserved END,
             lease_until = excluded.lease_until, expires_at = excluded.expires_at,
             status = NULL, headers = NULL, answer_sealed = NULL, body = NULL, updated_at = now()
         WHERE k.expires_at <= $9
            OR (k.status IS NULL AND k.lease_until <= clock_timestamp() AND k.operation = excluded.operation
                AND CASE WHEN excluded.body_hash IS NULL THEN k.body_hash IS NULL ELSE k.body_hash = ANY($10) END)
         RETURNING k.reserved",
    )
    .bind(asked.user_id)
    .bind(&asked.key)
    .bind(&asked.operation)
    .bind(marks.and_then(<[_]>::first))
    .bind(owner)
    .bind(reserved)
    .bind(f64::from(LEASE_SECONDS))
    .bind(now + KEPT)
    .bind(now)
    .bind(marks)
    .fetch_optional(pool)
    .await?;
    Ok(reserved.map(|reserved| Run { user_id: asked.user_id, key: asked.key.clone(), owner, reserved }))
}

fn judge(row: Row, asked: &Asked, marks: Option<&[Vec<u8>]>, vault: &Vault) -> Result<Begun> {
    let other_body = matches!((&row.body_hash, marks), (Some(kept), Some(marks)) if !marks.contains(kept));
    if row.operation != asked.operation || other_body {
        return Ok(Begun::Other);
    }
    let Some(status) = row.status else { return Ok(Begun::Busy) };
    let headers = row.headers.map(|Json(headers)| headers).unwrap_or_default();
    let body = match row.answer_sealed {
        Some(sealed) => vault.open(&sealed, row.reserved.as_bytes()).map_err(|reason| {
            Error::Conflict(format!(
                "the request with this Idempotency-Key was done, but its answer cannot be given again: {reason}"
            ))
        })?,
        None => row.body.unwrap_or_default(),
    };
    let answer = Answer { status: u16::try_from(status).unwrap_or(500), headers, body };
    Ok(Begun::Done(answer, row.body_hash.map(Mark).filter(|_| marks.is_none())))
}

impl Run {
    /// Says that it still runs. `false`: it was taken for dead, and another one runs.
    ///
    /// # Errors
    /// The database failed.
    pub async fn renew(&self, pool: &PgPool) -> Result<bool> {
        let renewed = sqlx::query(
            "UPDATE idempotency_keys SET lease_until = clock_timestamp() + make_interval(secs => $4), updated_at = now()
             WHERE user_id = $1 AND key = $2 AND owner = $3 AND status IS NULL",
        )
        .bind(self.user_id)
        .bind(&self.key)
        .bind(self.owner)
        .bind(f64::from(LEASE_SECONDS))
        .execute(pool)
        .await?;
        Ok(renewed.rows_affected() == 1)
    }

    /// Keeps the answer, and the mark of a body that has been read meanwhile. `false`: it was taken for dead; nothing is kept.
    ///
    /// # Errors
    /// The database failed.
    pub async fn finish(&self, pool: &PgPool, vault: &Vault, answer: &Answer, fingerprint: Option<Vec<u8>>) -> Result<bool> {
        let sealed = vault.seal(&answer.body, self.reserved.as_bytes()).map_err(Error::internal)?;
        let kept = sqlx::query(
            "UPDATE idempotency_keys SET status = $4, headers = $5, answer_sealed = $6, body_hash = coalesce($7, body_hash), lease_until = NULL,
                 updated_at = now()
             WHERE user_id = $1 AND key = $2 AND owner = $3 AND status IS NULL",
        )
        .bind(self.user_id)
        .bind(&self.key)
        .bind(self.owner)
        .bind(i16::try_from(answer.status).map_err(Error::internal)?)
        .bind(Json(&answer.headers))
        .bind(sealed)
        .bind(fingerprint.map(|fingerprint| vault.marks(&fingerprint).swap_remove(0)))
        .execute(pool)
        .await?;
        Ok(kept.rows_affected() == 1)
    }

    /// Nothing was done: the key may be used again.
    ///
    /// # Errors
    /// The database failed; the key is free when the lease has run out.
    pub async fn free(&self, pool: &PgPool) -> Result<()> {
        sqlx::query("DELETE FROM idempotency_keys WHERE user_id = $1 AND key = $2 AND owner = $3 AND status IS NULL")
            .bind(self.user_id)
            .bind(&self.key)
            .bind(self.owner)
            .execute(pool)
            .await?;
        Ok(())
    }
}

/// Removes the keys whose day is over, in slices. Answers how many.
///
/// # Errors
/// The database failed; what is removed stays removed.
pub async fn prune(pool: &PgPool, now: DateTime<Utc>) -> Result<u64> {
    let mut pruned = 0;
    loop {
        let slice = sqlx::query(
            "DELETE FROM idempotency_keys WHERE ctid IN (
                 SELECT ctid FROM idempotency_keys WHERE expires_at <= $1 LIMIT 1000 FOR UPDATE SKIP LOCKED)",
        )
        .bind(now)
        .execute(pool)
        .await?
        .rows_affected();
        pruned += slice;
        if slice < 1000 {
            return Ok(pruned);
        }
    }
}
