//! The noun: a message, its states, how it is taken, found and cancelled.
//!
//! ```text
//! queued → sending → accepted → bounced → complained
//!    ↓       ↑ ↓  ↘ bounced, failed
//!    ↓     deferred → cancelled
//! cancelled, suppressed, failed
//! ```

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::{FromRow, PgConnection, PgPool, Postgres, QueryBuilder, types::Json};
use uuid::Uuid;

use super::{
    attachment,
    draft::{Checked, Draft},
    payload::SendMessage,
};
use crate::{
    accounts::scope::Scope,
    address::Address,
    error::{Error, Result},
    idempotency::reserved,
    page::{Page, PageRequest},
    queue::job::{self, Enqueue},
    sending_domains::usable,
};

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MessageState)]
pub enum State {
    /// Waits for its first attempt.
    Queued,
    /// In flight.
    Sending,
    /// The server has it.
    Accepted,
    /// Waits for another attempt.
    Deferred,
    /// Refused for good because of the recipient, at once or by a mail that came back.
    Bounced,
    /// The recipient called it spam.
    Complained,
    /// Given up.
    Failed,
    /// The recipient gets no mail from the workspace.
    Suppressed,
    /// A person took it back.
    Cancelled,
}

impl State {
    /// All states.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Sending,
        Self::Accepted,
        Self::Deferred,
        Self::Bounced,
        Self::Complained,
        Self::Failed,
        Self::Suppressed,
        Self::Cancelled,
    ];

    /// As in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Accepted => "accepted",
            Self::Deferred => "deferred",
            Self::Bounced => "bounced",
            Self::Complained => "complained",
            Self::Failed => "failed",
            Self::Suppressed => "suppressed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether another attempt may follow.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Sending | Self::Deferred)
    }
}

impl TryFrom<String> for State {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::ALL.into_iter().find(|state| state.name() == name).ok_or_else(|| format!("there is no state {name:?}"))
    }
}

/// A row of `messages`.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0019_messages.sql")]
pub struct Message {
    pub id: Uuid,
    pub workspace_id: Uuid,
    pub template_id: Option<Uuid>,
    pub job_id: Option<Uuid>,
    #[sqlx(try_from = "String")]
    pub state: State,
    pub from_name: String,
    pub from_email: String,
    pub to_name: String,
    pub recipient: String,
    pub domain: String,
    pub reply_to_name: Option<String>,
    pub reply_to_email: Option<String>,
    pub subject: String,
    pub html: Option<String>,
    pub text: String,
    pub headers: Json<Vec<(String, String)>>,
    pub tags: Vec<String>,
    pub metadata: Json<Map<String, Value>>,
    pub attachments: i16,
    pub attempts: i16,
    pub route_id: Option<Uuid>,
    pub smtp_code: Option<i16>,
    pub enhanced_code: Option<String>,
    pub response: Option<String>,
    pub reason: Option<String>,
    pub expires_at: DateTime<Utc>,
    pub first_attempt_at: Option<DateTime<Utc>>,
    pub last_attempt_at: Option<DateTime<Utc>>,
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Message {
    /// Its Message-ID with its angle brackets: the same on every attempt.
    #[must_use]
    pub fn message_id(&self) -> String {
        message_id(self.id, self.from_domain())
    }

    /// What stands after the `@` of its sender.
    #[must_use]
    pub fn from_domain(&self) -> &str {
        self.from_email.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

/// The Message-ID of a message with its angle brackets.
#[must_use]
pub fn message_id(id: Uuid, from_domain: &str) -> String {
    format!("<{}@{from_domain}>", id.simple())
}

/// Takes a message, with the job that sends it, in the caller's transaction. It is given up after `expire_seconds`. Under an Idempotency-Key
/// whose first run died it is the one that run made.
///
/// # Errors
/// [`Error::Invalid`] names every wrong field. [`Error::TooLarge`]: the attachments. [`Error::Forbidden`]: the template belongs to another
/// workspace. [`Error::Conflict`]: mail cannot come from the sender's domain.
pub async fn create(connection: &mut PgConnection, scope: Scope, draft: Draft, expire_seconds: f64) -> Result<Message> {
    let id = reserved::id();
    let made: Option<Message> =
        sqlx::query_as("SELECT * FROM messages WHERE id = $1").bind(id).fetch_optional(&mut *connection).await?;
    if let Some(made) = made {
        return Ok(made);
    }
    let checked = draft.check(connection, scope).await?;
    usable::require(connection, scope.workspace_id, checked.from.1.domain()).await?;
    let options = Enqueue {
        workspace_id: Some(scope.workspace_id),
        flow: format!("messages {}", scope.workspace_id),
        destination: checked.to.1.domain().to_owned(),
        unique_key: Some(id.to_string()),
        ..Enqueue::default()
    };
    let job_id = job::enqueue(connection, &SendMessage { message_id: id }, options).await?;
    let message = insert(connection, scope, id, job_id, &checked, expire_seconds).await?;
    attachment::insert(connection, id, &checked.attachments).await?;
    Ok(message)
}

async fn insert(
    connection: &mut PgConnection,
    scope: Scope,
    id: Uuid,
    job_id: Uuid,
    checked: &Checked,
    expire_seconds: f64,
) -> Result<Message> {
    let reply_to = checked.reply_to.as_ref();
    Ok(sqlx::query_as(
        "WITH taken AS (
             INSERT INTO messages (id, workspace_id, template_id, job_id, from_name, from_email, to_name, recipient, domain, reply_to_name,
                                   reply_to_email, subject, html, text, headers, tags, metadata, attachments, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, now() + make_interval(secs => $19))
             RETURNING *),
         told AS (INSERT INTO message_events (message_id, kind) SELECT id, 'queued' FROM taken)
         SELECT * FROM taken",
    )
    .bind(id)
    .bind(scope.workspace_id)
    .bind(checked.template_id)
    .bind(job_id)
    .bind(&checked.from.0)
    .bind(checked.from.1.as_str())
    .bind(&checked.to.0)
    .bind(checked.to.1.as_str())
    .bind(checked.to.1.domain())
    .bind(reply_to.map(|(name, _)| name.as_str()))
    .bind(reply_to.map(|(_, address)| address.as_str()))
    .bind(&checked.content.subject)
    .bind(&checked.content.html)
    .bind(&checked.content.text)
    .bind(Json(&checked.headers))
    .bind(&checked.tags)
    .bind(Json(&checked.metadata))
    .bind(i16::try_from(checked.attachments.len()).map_err(Error::internal)?)
    .bind(expire_seconds)
    .fetch_one(connection)
    .await?)
}

/// The message `id`, for reading.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Forbidden`]: another workspace's.
pub async fn find(pool: &PgPool, scope: Scope, id: Uuid) -> Result<Message> {
    let message = read(pool, id).await?.ok_or_else(|| Error::not_found("message", id))?;
    scope.may_read("message", id, message.workspace_id)?;
    Ok(message)
}

/// The message `id`, whoever it belongs to: for jobs.
///
/// # Errors
/// The database failed.
pub async fn read(pool: &PgPool, id: Uuid) -> Result<Option<Message>> {
    Ok(sqlx::query_as("SELECT * FROM messages WHERE id = $1").bind(id).fetch_optional(pool).await?)
}

/// Which messages a page shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// In this state.
    pub state: Option<State>,
    /// With this tag.
    pub tag: Option<String>,
    /// To this address.
    pub to: Option<String>,
    /// Taken on this day or later (UTC).
    pub date_from: Option<NaiveDate>,
    /// Taken on this day or earlier (UTC).
    pub date_to: Option<NaiveDate>,
}

/// The workspace's messages that pass the filter, newest first, without their bodies.
///
/// # Errors
/// The database failed.
pub async fn page(pool: &PgPool, scope: Scope, filter: &Filter, request: PageRequest) -> Result<Page<Message>> {
    let mut count = QueryBuilder::new("SELECT count(*) FROM messages");
    narrow(&mut count, scope, filter);
    let total = count.build_query_scalar().fetch_one(pool).await?;
    let mut rows = QueryBuilder::new(
        "SELECT id, workspace_id, template_id, job_id, state, from_name, from_email, to_name, recipient, domain, reply_to_name,
                reply_to_email, subject, NULL::text AS html, '' AS text, headers, tags, metadata, attachments, attempts, route_id, smtp_code,
                enhanced_code, response, reason, expires_at, first_attempt_at, last_attempt_at, next_attempt_at, created_at, updated_at
         FROM messages",
    );
    narrow(&mut rows, scope, filter);
    rows.push(" ORDER BY id DESC LIMIT ").push_bind(request.limit).push(" OFFSET ").push_bind(request.offset());
    Ok(Page::new(request, total, rows.build_query_as().fetch_all(pool).await?))
}

fn narrow(query: &mut QueryBuilder<Postgres>, scope: Scope, filter: &Filter) {
    query.push(" WHERE workspace_id = ").push_bind(scope.workspace_id);
    if let Some(state) = filter.state {
        query.push(" AND state = ").push_bind(state.name());
    }
    if let Some(tag) = &filter.tag {
        query.push(" AND tags @> ARRAY[").push_bind(tag.clone()).push("]");
    }
    if let Some(to) = &filter.to {
        let address = Address::parse_recipient(to.trim());
        let value = address.map_or_else(|_| to.trim().to_lowercase(), |address| address.as_str().to_owned());
        query.push(" AND recipient = ").push_bind(value);
    }
    if let Some(date) = filter.date_from {
        query.push(" AND created_at >= ").push_bind(date).push("::date");
    }
    if let Some(date) = filter.date_to {
        query.push(" AND created_at < ").push_bind(date).push("::date + 1");
    }
}

/// Takes a message back that waits. Its job finds that out.
///
/// # Errors
/// [`Error::Conflict`]: it is in flight, or over. [`Error::NotFound`], [`Error::Forbidden`].
pub async fn cancel(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<Message> {
    let message: Option<Message> =
        sqlx::query_as("SELECT * FROM messages WHERE id = $1 FOR NO KEY UPDATE").bind(id).fetch_optional(&mut *connection).await?;
    let message = message.ok_or_else(|| Error::not_found("message", id))?;
    scope.may_change("message", id, message.workspace_id)?;
    if !matches!(message.state, State::Queued | State::Deferred) {
        return Err(Error::Conflict(format!("message {id} is {}; only one that waits is cancelled", message.state.name())));
    }
    Ok(sqlx::query_as(
        "WITH told AS (INSERT INTO message_events (message_id, kind, attempt) SELECT id, 'cancelled', attempts FROM messages WHERE id = $1),
         forgotten AS (UPDATE message_attachments SET content = NULL, updated_at = now() WHERE message_id = $1)
         UPDATE messages SET state = 'cancelled', next_attempt_at = NULL, updated_at = now() WHERE id = $1 RETURNING *",
    )
    .bind(id)
    .fetch_one(connection)
    .await?)
}
