//! The noun: a domain that a workspace sends from. Several workspaces may claim one; only one of them can verify it.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, PgPool, Postgres, QueryBuilder, types::Json};
use uuid::Uuid;

use super::{
    check::{Check, Verdict},
    dkim_key::{self, DkimKey},
    due,
    verdict::{self, Decision},
};
use crate::{
    accounts::scope::Scope,
    address,
    error::{Error, Result},
    idempotency::reserved,
    page::{Page, PageRequest},
    vault::Vault,
    version::Expected,
};

/// Longest domain in octets: names below it, such as selectors, must fit into a name of DNS.
const LONGEST: usize = 200;
/// What stands before the domain in the host that bounces come back to.
const RETURN_PATH_LABEL: &str = "bounces";

/// Where a domain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SendingDomainState)]
pub enum State {
    /// Never verified.
    Pending,
    /// Mail may come from it.
    Verified,
    /// A check that was passed fails now; mail still goes out.
    Degraded,
    /// It fails for too long, or receivers would refuse its mail: none goes out.
    Failed,
}

impl State {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Verified, Self::Degraded, Self::Failed];

    /// As in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Verified => "verified",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }

    /// Whether mail may come from a domain in this state.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::Verified | Self::Degraded)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|state| state.name() == name).ok_or_else(|| format!("there is no state {name:?}"))
    }
}

impl TryFrom<String> for State {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

/// A row of `sending_domains`.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0016_sending_domains.sql")]
pub struct SendingDomain {
    pub id: Uuid,
    pub workspace_id: Uuid,
    pub domain: String,
    #[sqlx(try_from = "String")]
    pub state: State,
    pub ownership_token: String,
    pub return_path_host: String,
    pub checks: Json<Vec<Check>>,
    pub checked_at: Option<DateTime<Utc>>,
    pub verified_at: Option<DateTime<Utc>>,
    pub failing_since: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// Claims a domain for the caller's workspace, with a pair of keys to publish.
///
/// # Errors
/// [`Error::Invalid`]: it is no domain. [`Error::Conflict`]: the workspace has it already.
pub async fn create(connection: &mut PgConnection, vault: &Vault, scope: Scope, domain: &str) -> Result<SendingDomain> {
    let domain = check(domain)?;
    let pair = dkim_key::make_pair().await?;
    let id = reserved::id();
    let created: Option<SendingDomain> = sqlx::query_as(
        "INSERT INTO sending_domains (id, workspace_id, domain, ownership_token, return_path_host)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING RETURNING *",
    )
    .bind(id)
    .bind(scope.workspace_id)
    .bind(&domain)
    .bind(format!("{:032x}", rand::random::<u128>()))
    .bind(format!("{RETURN_PATH_LABEL}.{domain}"))
    .fetch_optional(&mut *connection)
    .await
    .map_err(|error| match Error::constraint(&error) {
        Some("sending_domains_domain_key") => Error::Conflict(format!("the sending domain {domain} exists already")),
        _ => error.into(),
    })?;
    match created {
        Some(created) => {
            dkim_key::insert(connection, vault, created.id, &pair).await?;
            Ok(created)
        }
        // A run of the same request made it, and died before it could say so.
        None => hold(connection, scope, id).await,
    }
}

fn check(domain: &str) -> Result<String> {
    let parsed = address::parse_domain(domain.trim().trim_end_matches('.'))
        .map_err(|reason| Error::invalid("domain", format!("{domain:?} {reason}")))?;
    if parsed.len() > LONGEST {
        let message = format!("must be at most {LONGEST} characters, not {}: names below it must fit into DNS", parsed.len());
        return Err(Error::invalid("domain", message));
    }
    Ok(parsed)
}

/// The workspace's domains whose name holds `search`, newest first.
///
/// # Errors
/// The database failed.
pub async fn page(
    pool: &PgPool,
    scope: Scope,
    search: &str,
    state: Option<State>,
    request: PageRequest,
) -> Result<Page<SendingDomain>> {
    let narrow = |query: &mut QueryBuilder<Postgres>| {
        query.push(" WHERE workspace_id = ").push_bind(scope.workspace_id);
        query.push(" AND position(").push_bind(search.to_lowercase()).push(" IN domain) > 0");
        if let Some(state) = state {
            query.push(" AND state = ").push_bind(state.name());
        }
    };
    let mut count = QueryBuilder::new("SELECT count(*) FROM sending_domains");
    narrow(&mut count);
    let total = count.build_query_scalar().fetch_one(pool).await?;
    let mut rows = QueryBuilder::new("SELECT * FROM sending_domains");
    narrow(&mut rows);
    rows.push(" ORDER BY id DESC LIMIT ").push_bind(request.limit).push(" OFFSET ").push_bind(request.offset());
    Ok(Page::new(request, total, rows.build_query_as().fetch_all(pool).await?))
}

/// The domain `id`, for reading.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Forbidden`]: another workspace's.
pub async fn find(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<SendingDomain> {
    let found = read(connection, id).await?;
    scope.may_read("sending domain", id, found.workspace_id)?;
    Ok(found)
}

/// The domain `id`, whoever it belongs to: for jobs.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn read(connection: &mut PgConnection, id: Uuid) -> Result<SendingDomain> {
    let found = sqlx::query_as("SELECT * FROM sending_domains WHERE id = $1").bind(id).fetch_optional(connection).await?;
    found.ok_or_else(|| Error::not_found("sending domain", id))
}

/// The domain `id`, held for a change until the caller's transaction ends.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Forbidden`]: another workspace's.
pub async fn hold(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<SendingDomain> {
    let found: Option<SendingDomain> =
        sqlx::query_as("SELECT * FROM sending_domains WHERE id = $1 FOR NO KEY UPDATE").bind(id).fetch_optional(connection).await?;
    let found = found.ok_or_else(|| Error::not_found("sending domain", id))?;
    scope.may_change("sending domain", id, found.workspace_id)?;
    Ok(found)
}

/// Holds the domain until the transaction ends, if it is still what a change expects; asks nothing where any will do.
///
/// # Errors
/// [`Error::Outdated`], [`Error::NotFound`], [`Error::Forbidden`].
pub async fn expect(connection: &mut PgConnection, scope: Scope, id: Uuid, expected: &Expected) -> Result<()> {
    if *expected == Expected::Any {
        return Ok(());
    }
    expected.check("sending domain", id, hold(connection, scope, id).await?.updated_at)
}

/// Gives a domain up, with its keys. Answers what it was.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Forbidden`]: another workspace's.
pub async fn delete(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<SendingDomain> {
    let held = hold(connection, scope, id).await?;
    sqlx::query("DELETE FROM sending_domains WHERE id = $1").bind(id).execute(connection).await?;
    Ok(held)
}

/// Adds a pair of keys that sign once their records are seen.
///
/// # Errors
/// [`Error::Conflict`]: the last pair has not been seen yet. [`Error::NotFound`], [`Error::Forbidden`].
pub async fn rotate_keys(connection: &mut PgConnection, vault: &Vault, scope: Scope, id: Uuid) -> Result<SendingDomain> {
    let held = hold(connection, scope, id).await?;
    let keys = dkim_key::published(connection, id).await?;
    if let Some(pending) = keys.iter().find(|key| key.state == "pending") {
        return Err(Error::Conflict(format!(
            "the key {} of {} has not been seen in DNS yet: publish its record and verify first",
            pending.selector, held.domain
        )));
    }
    dkim_key::insert(connection, vault, id, &dkim_key::make_pair().await?).await?;
    Ok(sqlx::query_as("UPDATE sending_domains SET updated_at = now() WHERE id = $1 RETURNING *")
        .bind(id)
        .fetch_one(connection)
        .await?)
}

/// What a verification changed.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The state before.
    pub before: State,
    /// The domain now.
    pub domain: SendingDomain,
}

/// Writes down what a verification found. `seen` are the keys whose records stand in DNS.
///
/// # Errors
/// [`Error::NotFound`]: it is gone. The database failed; where another workspace verified the domain in the same moment, another try says so.
pub async fn record(
    connection: &mut PgConnection,
    id: Uuid,
    mut checks: Vec<Check>,
    seen: &[DkimKey],
    now: DateTime<Utc>,
) -> Result<Recorded> {
    let old: Option<SendingDomain> = sqlx::query_as("SELECT * FROM sending_domains WHERE id = $1 FOR NO KEY UPDATE")
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?;
    let old = old.ok_or_else(|| Error::not_found("sending domain", id))?;
    let owned: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM sending_domains WHERE domain = $1 AND id <> $2 AND state IN ('verified', 'degraded'))",
    )
    .bind(&old.domain)
    .bind(id)
    .fetch_one(&mut *connection)
    .await?;
    if owned && let Some(ownership) = checks.iter_mut().find(|check| check.name == "ownership") {
        ownership.verdict = Verdict::Fail;
        ownership.answered = true;
        ownership.advice = "another workspace has verified this domain: it must be deleted there first".to_owned();
    }
    for key in seen {
        dkim_key::activate(connection, key, now).await?;
    }
    dkim_key::retire(connection, id, now).await?;
    let Decision { state, failing_since } = verdict::decide(old.state, old.failing_since, &checks, now);
    let domain = sqlx::query_as(
        "UPDATE sending_domains SET state = $2, checks = $3, checked_at = $4, failing_since = $5, check_due_at = $6, updated_at = now(),
                verified_at = CASE WHEN $2 = 'verified' THEN coalesce(verified_at, $4) ELSE verified_at END
         WHERE id = $1 RETURNING *",
    )
    .bind(id)
    .bind(state.name())
    .bind(Json(&checks))
    .bind(now)
    .bind(failing_since)
    .bind(due::next(state, &checks, now))
    .fetch_one(connection)
    .await?;
    Ok(Recorded { before: old.state, domain })
}

/// Any domain, of any workspace: a name to ask name servers for.
///
/// # Errors
/// The database failed.
pub async fn any(pool: &PgPool) -> Result<Option<String>> {
    Ok(sqlx::query_scalar("SELECT domain FROM sending_domains ORDER BY id LIMIT 1").fetch_optional(pool).await?)
}

/// How many domains there are in each state, over all workspaces.
///
/// # Errors
/// The database failed.
pub async fn count(pool: &PgPool) -> Result<[(State, i64); 4]> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("SELECT state, count(*) FROM sending_domains GROUP BY state").fetch_all(pool).await?;
    Ok(State::ALL.map(|state| (state, rows.iter().find(|(name, _)| name == state.name()).map_or(0, |(_, count)| *count))))
}
