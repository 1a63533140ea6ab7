//! Questions: the rows of a campaign's ledger, a page at a time for a screen, all of them for a file.

use chrono::{DateTime, SecondsFormat, Utc};
use sqlx::{FromRow, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    page::{Page, PageRequest},
};

/// States as they are told: what the table calls `sending` is in flight.
pub const STATES: [&str; 8] = ["accepted", "bounced", "failed", "suppressed", "cancelled", "unknown", "deferred", "in_flight"];
/// What a filter names beside the states: those with the mark of a complaint, whatever their state.
pub const COMPLAINED: &str = "complained";

/// Columns of the file.
const COLUMNS: [&str; 13] = [
    "recipient",
    "state",
    "attempts",
    "smtp_code",
    "enhanced_code",
    "response",
    "reason",
    "message_id",
    "first_attempt_at",
    "last_attempt_at",
    "next_attempt_at",
    "contact_id",
    "complained_at",
];

/// A row of the ledger.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0006_deliveries.sql and 0018_bounces.sql")]
pub struct Delivery {
    pub contact_id: Uuid,
    pub recipient: String,
    /// One of [`STATES`].
    pub state: String,
    pub attempts: i16,
    pub smtp_code: Option<i16>,
    pub enhanced_code: Option<String>,
    pub response: Option<String>,
    pub reason: Option<String>,
    pub route_id: Option<Uuid>,
    pub first_attempt_at: Option<DateTime<Utc>>,
    pub last_attempt_at: Option<DateTime<Utc>>,
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub complained_at: Option<DateTime<Utc>>,
}

/// Which rows are shown.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Part of the address; empty: any.
    search: String,
    state: Option<String>,
}

impl Filter {
    /// Checks the state.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the state and lists those that there are.
    pub fn new(search: String, state: Option<String>) -> Result<Self> {
        let state = match state.as_deref() {
            None => None,
            Some("in_flight" | "sending") => Some("sending".to_owned()),
            Some(known) if STATES.contains(&known) || known == COMPLAINED => state,
            Some("pending") => {
                let message =
                    "pending recipients have not been tried, so they have no row here; the campaign's recipients list them all";
                return Err(Error::invalid("state", message));
            }
            Some(other) => {
                return Err(Error::invalid("state", format!("{other:?} is not a state; there are {}", STATES.join(", "))));
            }
        };
        Ok(Self { search: search.to_lowercase(), state })
    }
}

const SELECT: &str = "SELECT contact_id, recipient, CASE state WHEN 'sending' THEN 'in_flight' ELSE state END AS state, attempts,
    smtp_code, enhanced_code, response, reason, route_id, first_attempt_at, last_attempt_at, next_attempt_at, complained_at
    FROM deliveries WHERE campaign_id = ";

/// A page of the rows, newest contact first.
///
/// # Errors
/// The database failed.
pub async fn page(pool: &PgPool, campaign_id: Uuid, filter: &Filter, request: PageRequest) -> Result<Page<Delivery>> {
    let mut count = QueryBuilder::new("SELECT count(*) FROM deliveries WHERE campaign_id = ");
    count.push_bind(campaign_id);
    narrow(&mut count, filter);
    let total = count.build_query_scalar().fetch_one(pool).await?;
    let mut rows = QueryBuilder::new(SELECT);
    rows.push_bind(campaign_id);
    narrow(&mut rows, filter);
    rows.push(" ORDER BY contact_id DESC LIMIT ").push_bind(request.limit).push(" OFFSET ").push_bind(request.offset());
    Ok(Page::new(request, total, rows.build_query_as().fetch_all(pool).await?))
}

/// The next `limit` rows in the order of the key; `after` is the last one's contact.
///
/// # Errors
/// The database failed.
pub async fn after(pool: &PgPool, campaign_id: Uuid, filter: &Filter, after: Option<Uuid>, limit: i64) -> Result<Vec<Delivery>> {
    let mut rows = QueryBuilder::new(SELECT);
    rows.push_bind(campaign_id);
    narrow(&mut rows, filter);
    if let Some(after) = after {
        rows.push(" AND contact_id > ").push_bind(after);
    }
    rows.push(" ORDER BY contact_id LIMIT ").push_bind(limit);
    Ok(rows.build_query_as().fetch_all(pool).await?)
}

fn narrow(query: &mut QueryBuilder<Postgres>, filter: &Filter) {
    match filter.state.as_deref() {
        Some(COMPLAINED) => {
            query.push(" AND complained_at IS NOT NULL");
        }
        Some(state) => {
            query.push(" AND state = ").push_bind(state.to_owned());
        }
        None => {}
    }
    if !filter.search.is_empty() {
        query.push(" AND position(").push_bind(filter.search.clone()).push(" IN recipient) > 0");
    }
}

/// The first line of the file.
///
/// # Errors
/// Writing failed; it has no reason to.
pub fn csv_header() -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS).map_err(Error::internal)?;
    writer.into_inner().map_err(Error::internal)
}

/// Lines of the file. `message_id` answers the Message-ID of a contact.
///
/// # Errors
/// Writing failed; it has no reason to.
pub fn csv_lines(rows: &[Delivery], message_id: impl Fn(Uuid) -> String) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::with_capacity(rows.len() * 256));
    let time = |at: Option<DateTime<Utc>>| at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)).unwrap_or_default();
    for row in rows {
        let fields = [
            row.recipient.clone(),
            row.state.clone(),
            row.attempts.to_string(),
            row.smtp_code.map(|code| code.to_string()).unwrap_or_default(),
            row.enhanced_code.clone().unwrap_or_default(),
            row.response.clone().unwrap_or_default(),
            row.reason.clone().unwrap_or_default(),
            message_id(row.contact_id),
            time(row.first_attempt_at),
            time(row.last_attempt_at),
            time(row.next_attempt_at),
            row.contact_id.to_string(),
            time(row.complained_at),
        ];
        writer.write_record(&fields).map_err(Error::internal)?;
    }
    writer.into_inner().map_err(Error::internal)
}
