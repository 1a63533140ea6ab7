//! The noun: a provider's post whose signature was good. It is stored with its job before it is answered for.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use super::{payload::ReadPost, source::Kind};
use crate::{
    database,
    error::Result,
    queue::job::{self, Enqueue},
};

/// A row of `feedback_posts`, with what its source may tell of.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0018_bounces.sql")]
pub struct Post {
    pub id: Uuid,
    #[sqlx(try_from = "String")]
    pub kind: Kind,
    pub workspace_id: Uuid,
    pub everywhere: bool,
    pub body: Vec<u8>,
    pub state: String,
    pub created_at: DateTime<Utc>,
}

/// Stores a post with its job. False: it has been stored before, and nothing happens.
///
/// # Errors
/// The database failed.
pub async fn store(pool: &PgPool, source_id: Uuid, replay_key: &[u8], body: &[u8]) -> Result<bool> {
    let id = Uuid::now_v7();
    let mut transaction = database::begin(pool).await?;
    let stored = sqlx::query(
        "INSERT INTO feedback_posts (id, source_id, replay_key, body) VALUES ($1, $2, $3, $4)
         ON CONFLICT (source_id, replay_key) DO NOTHING",
    )
    .bind(id)
    .bind(source_id)
    .bind(replay_key)
    .bind(body)
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if stored == 1 {
        job::enqueue(&mut transaction, &ReadPost { feedback_post_id: id }, Enqueue::default()).await?;
        // Once a second at most: providers post in bursts.
        sqlx::query(
            "UPDATE feedback_sources SET received_at = now(), updated_at = now()
             WHERE id = (SELECT id FROM feedback_sources WHERE id = $1 AND (received_at IS NULL OR received_at < now() - interval '1 second')
                         FOR NO KEY UPDATE SKIP LOCKED)",
        )
        .bind(source_id)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(stored == 1)
}

/// The post `id`, unless retention has removed it.
///
/// # Errors
/// The database failed.
pub async fn find(pool: &PgPool, id: Uuid) -> Result<Option<Post>> {
    let found = sqlx::query_as(
        "SELECT p.id, s.kind, s.workspace_id, s.everywhere, p.body, p.state, p.created_at
         FROM feedback_posts p JOIN feedback_sources s ON s.id = p.source_id WHERE p.id = $1",
    )
    .bind(id)
    .fetch_optional(pool)
    .await?;
    Ok(found)
}

/// Remembers that a post was read, and whether anything in it was taken.
///
/// # Errors
/// The database failed.
pub async fn read(connection: &mut PgConnection, id: Uuid, taken: bool) -> Result<()> {
    sqlx::query(
        "UPDATE feedback_posts SET state = CASE WHEN $2 THEN 'taken' ELSE 'unusable' END, taken_at = now(), updated_at = now()
         WHERE id = $1",
    )
    .bind(id)
    .bind(taken)
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes posts that came before `before` and were read. Answers how many.
///
/// # Errors
/// The database failed.
pub async fn prune(pool: &PgPool, before: DateTime<Utc>) -> Result<u64> {
    let gone = sqlx::query(
        "DELETE FROM feedback_posts WHERE id IN (
             SELECT id FROM feedback_posts WHERE id < uuid_floor($1) AND state <> 'received' ORDER BY id LIMIT 10000
             FOR UPDATE SKIP LOCKED)",
    )
    .bind(before)
    .execute(pool)
    .await?
    .rows_affected();
    Ok(gone)
}
