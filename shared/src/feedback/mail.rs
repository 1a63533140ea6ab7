//! The noun: a mail that came in, as it was received. It is stored with its job before it is answered for: who sent it then forgets it.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use super::{fact::About, payload::ReadNotice};
use crate::{
    database,
    error::Result,
    queue::job::{self, Enqueue},
    vault::{Links, Origin},
};

/// To which of our addresses a mail came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mailbox {
    /// The return path of this mail.
    ReturnPath(About),
    /// Where this recipient of this campaign unsubscribes.
    Unsubscribe {
        /// The campaign.
        campaign_id: Uuid,
        /// The recipient.
        contact_id: Uuid,
    },
    /// One that is registered for reports.
    Reports,
}

impl Mailbox {
    /// What an address of an envelope is; `reports` are the addresses that are registered, in lower case. The token is in the local part,
    /// so any host will do.
    #[must_use]
    pub fn read(links: &Links, reports: &[String], address: &str) -> Option<Self> {
        let (local, _) = address.rsplit_once('@')?;
        if let Some(origin) = links.read_return_path(local) {
            return Some(Self::ReturnPath(origin.into()));
        }
        if let Some((campaign_id, contact_id)) = links.read_unsubscribe_mailbox(local) {
            return Some(Self::Unsubscribe { campaign_id, contact_id });
        }
        reports.iter().any(|known| address.eq_ignore_ascii_case(known)).then_some(Self::Reports)
    }

    /// As in the table and in metrics.
    #[must_use]
    pub const fn purpose(&self) -> &'static str {
        match self {
            Self::ReturnPath(_) => "bounce",
            Self::Unsubscribe { .. } => "unsubscribe",
            Self::Reports => "feedback",
        }
    }
}

impl From<Origin> for About {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Delivery { campaign_id, contact_id } => Self::Delivery { campaign_id, contact_id },
            Origin::Message { message_id } => Self::Message { message_id },
        }
    }
}

/// A mail as the listener has it.
#[derive(Clone, Debug)]
pub struct Received {
    /// MAIL FROM; empty: the null path.
    pub sender: String,
    /// Those of its recipients that are ours.
    pub recipients: Vec<(String, Mailbox)>,
    /// Who delivered it.
    pub client: String,
    /// What followed DATA, dots taken out.
    pub raw: Vec<u8>,
}

/// A row of `inbound_mails`.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0018_bounces.sql")]
pub struct InboundMail {
    pub id: Uuid,
    pub recipient: String,
    pub sender: String,
    pub raw: Vec<u8>,
    pub state: String,
    pub created_at: DateTime<Utc>,
}

/// Stores a mail once for each of its recipients, with the jobs that read it, in one transaction. Once this has answered, it may be
/// answered for.
///
/// # Errors
/// The database failed; whether it committed is not known. Stored twice it is taken once.
pub async fn store(pool: &PgPool, mail: &Received) -> Result<Vec<Uuid>> {
    let mut transaction = database::begin(pool).await?;
    let mut ids = Vec::with_capacity(mail.recipients.len());
    for (recipient, mailbox) in &mail.recipients {
        let id = Uuid::now_v7();
        sqlx::query("INSERT INTO inbound_mails (id, purpose, recipient, sender, client, raw) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(id)
            .bind(mailbox.purpose())
            .bind(recipient)
            .bind(&mail.sender)
            .bind(&mail.client)
            .bind(&mail.raw)
            .execute(&mut *transaction)
            .await?;
        job::enqueue(&mut transaction, &ReadNotice { inbound_mail_id: id }, Enqueue::default()).await?;
        ids.push(id);
    }
    transaction.commit().await?;
    Ok(ids)
}

/// The mail `id`, unless retention has removed it.
///
/// # Errors
/// The database failed.
pub async fn find(pool: &PgPool, id: Uuid) -> Result<Option<InboundMail>> {
    let found = sqlx::query_as("SELECT id, recipient, sender, raw, state, created_at FROM inbound_mails WHERE id = $1")
        .bind(id)
        .fetch_optional(pool)
        .await?;
    Ok(found)
}

/// Remembers what a mail was found to be, and whether anything in it was taken.
///
/// # Errors
/// The database failed.
pub async fn read(connection: &mut PgConnection, id: Uuid, kind: &str, taken: bool) -> Result<()> {
    sqlx::query(
        "UPDATE inbound_mails SET state = CASE WHEN $3 THEN 'taken' ELSE 'unusable' END, kind = $2, taken_at = now(), updated_at = now()
         WHERE id = $1",
    )
    .bind(id)
    .bind(kind)
    .bind(taken)
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes mails that came before `before` and were read. Answers how many.
///
/// # Errors
/// The database failed.
pub async fn prune(pool: &PgPool, before: DateTime<Utc>) -> Result<u64> {
    let gone = sqlx::query(
        "DELETE FROM inbound_mails WHERE id IN (
             SELECT id FROM inbound_mails WHERE id < uuid_floor($1) AND state <> 'received' ORDER BY id LIMIT 10000
             FOR UPDATE SKIP LOCKED)",
    )
    .bind(before)
    .execute(pool)
    .await?
    .rows_affected();
    Ok(gone)
}
