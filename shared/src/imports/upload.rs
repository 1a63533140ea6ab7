//! Receives a file. The row `receiving` comes first, then the object, then row and job in one transaction: a crash at any point leaves
//! either an import that runs or something that [`super::sweep`] finds.

use bytes::Bytes;
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    format::{self, HEAD_BYTES},
    payload::LoadContacts,
    sweep,
};
use crate::{
    accounts::scope::Scope,
    contacts::list,
    database,
    error::{Error, Result},
    queue::job::{self, Enqueue},
    store::{Store, Writer},
};

/// Longest name of a file, in characters; the rest is cut off.
const LONGEST_FILE_NAME: usize = 255;

/// Checks what a file is to become.
///
/// # Errors
/// [`Error::Invalid`] names the field `target`.
pub fn check_target(target: &str) -> Result<()> {
    match target {
        "contacts" => Ok(()),
        other => Err(Error::invalid("target", format!("must be \"contacts\", not {other:?}"))),
    }
}

/// Checks that the list is there and the caller's to fill.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`].
pub async fn check_list(pool: &PgPool, scope: Scope, list_id: Uuid) -> Result<()> {
    list::hold(&mut *pool.acquire().await?, scope, list_id).await
}

/// A file that is being received.
#[derive(Debug)]
pub struct Upload {
    pool: PgPool,
    store: Store,
    scope: Scope,
    id: Uuid,
    key: String,
    writer: Writer,
    head: Vec<u8>,
    blank: bool,
    received: u64,
    limit_bytes: u64,
}

/// What was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The import.
    pub id: Uuid,
    /// The job that loads it.
    pub job_id: Uuid,
}

impl Upload {
    /// Makes the row and opens the object. More than `limit_bytes` will be refused.
    ///
    /// # Errors
    /// The database failed.
    pub async fn begin(pool: &PgPool, store: &Store, scope: Scope, file_name: &str, limit_bytes: u64) -> Result<Self> {
        let id = Uuid::now_v7();
        let key = format!("imports/{}/{id}.csv", scope.workspace_id);
        let file_name: String = file_name.chars().filter(|c| !c.is_control()).take(LONGEST_FILE_NAME).collect();
        sqlx::query(
            "INSERT INTO imports (id, workspace_id, target, state, file_name, object_key) VALUES ($1, $2, 'contacts', 'receiving', $3, $4)",
        )
        .bind(id)
        .bind(scope.workspace_id)
        .bind(file_name)
        .bind(&key)
        .execute(pool)
        .await?;
        let writer = store.writer(&key);
        let (pool, store) = (pool.clone(), store.clone());
        Ok(Self { pool, store, scope, id, key, writer, head: Vec::new(), blank: true, received: 0, limit_bytes })
    }

    /// The next bytes of the file.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Invalid`] names the field `file` where it is not CSV. Then [`Upload::discard`] it.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.received += bytes.len() as u64;
        if self.received > self.limit_bytes {
            return Err(Error::TooLarge { limit_bytes: self.limit_bytes });
        }
        if self.head.len() < HEAD_BYTES {
            let wanted = bytes.len().min(HEAD_BYTES - self.head.len());
            self.head.extend_from_slice(&bytes[..wanted]);
            if self.head.len() == HEAD_BYTES {
                self.check_head()?;
            }
            self.blank = format::is_blank(&self.head) && bytes[wanted..].iter().all(u8::is_ascii_whitespace);
        } else if self.blank {
            self.blank = bytes.iter().all(u8::is_ascii_whitespace);
        }
        Ok(self.writer.write(bytes).await?)
    }

    fn check_head(&self) -> Result<()> {
        format::check(&self.head).map_err(|reason| Error::invalid("file", reason))
    }

    /// Refuses a file that has nothing in it or is no CSV; for a caller that has other things to check before [`Upload::accept`].
    ///
    /// # Errors
    /// [`Error::Invalid`] names the field `file`.
    pub fn check(&self) -> Result<()> {
        if self.blank {
            let message = if self.received == 0 { "is empty" } else { "is empty: it holds only white space" };
            return Err(Error::invalid("file", message));
        }
        self.check_head()
    }

    /// Makes the object visible, then the row and its job, for contacts of the list.
    ///
    /// # Errors
    /// The file is empty or no CSV, the list is not there or not the caller's, store or database failed. Nothing of the upload is
    /// left then, as far as it can be removed.
    pub async fn accept(self, list_id: Uuid) -> Result<Accepted> {
        let (pool, store, id) = (self.pool.clone(), self.store.clone(), self.id);
        match self.seal(list_id).await {
            Ok(job_id) => Ok(Accepted { id, job_id }),
            Err(error) => {
                forget(&pool, &store, id).await;
                Err(error)
            }
        }
    }

    async fn seal(self, list_id: Uuid) -> Result<Uuid> {
        self.check()?;
        check_list(&self.pool, self.scope, list_id).await?;
        self.writer.finish().await?;
        let size = i64::try_from(self.received).map_err(Error::internal)?;
        let mut transaction = database::begin(&self.pool).await?;
        list::hold(&mut transaction, self.scope, list_id).await?;
        let workspace_id = Some(self.scope.workspace_id);
        let options =
            Enqueue { workspace_id, unique_key: Some(self.id.to_string()), progress_total: Some(size), ..Enqueue::default() };
        let job_id = job::enqueue(&mut transaction, &LoadContacts { import_id: self.id }, options).await?;
        let sealed = sqlx::query(
            "UPDATE imports SET state = 'queued', list_id = $2, job_id = $3, size_bytes = $4, updated_at = now()
             WHERE id = $1 AND state = 'receiving'",
        )
        .bind(self.id)
        .bind(list_id)
        .bind(job_id)
        .bind(size)
        .execute(&mut *transaction)
        .await?;
        if sealed.rows_affected() == 0 {
            return Err(Error::Conflict(format!("the upload of {} took too long and was removed", self.key)));
        }
        transaction.commit().await?;
        Ok(job_id)
    }

    /// Removes what was received.
    pub async fn discard(self) {
        let (pool, store, id) = (self.pool, self.store, self.id);
        if let Err(error) = self.writer.abort().await {
            tracing::warn!(%error, import.id = %id, "a refused upload could not be removed");
        }
        forget(&pool, &store, id).await;
    }
}

/// Removes the row, if it is still `receiving`, and the object. What fails here is the sweeper's.
async fn forget(pool: &PgPool, store: &Store, id: Uuid) {
    if let Err(error) = sweep::remove(pool, store, id).await {
        tracing::warn!(%error, import.id = %id, "a refused upload is left to the sweeper");
    }
}
