//! The noun: a suppression, an address or a whole domain that gets no mail from a workspace.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::{
    accounts::scope::Scope,
    address::Address,
    error::{Error, Result},
    page::{Page, PageRequest},
};

/// What is suppressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SuppressionKind)]
pub enum Kind {
    /// One address.
    Address,
    /// Every address of a domain; its subdomains are domains of their own.
    Domain,
}

impl Kind {
    /// As in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Domain => "domain",
        }
    }
}

/// Why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SuppressionReason)]
pub enum Reason {
    /// Somebody of the workspace entered it.
    #[default]
    Manual,
    /// The recipient asked for it.
    Unsubscribe,
    /// The address does not exist.
    Bounce,
    /// The recipient called a mail spam.
    Complaint,
}

impl Reason {
    /// As in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Unsubscribe => "unsubscribe",
            Self::Bounce => "bounce",
            Self::Complaint => "complaint",
        }
    }
}

/// A row of `suppressions`.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0003_contacts.sql and 0018_bounces.sql")]
pub struct Suppression {
    pub id: Uuid,
    pub workspace_id: Uuid,
    pub kind: String,
    pub value: String,
    pub reason: String,
    pub expires_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

/// Which suppressions a page shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Part of the value; empty: any.
    pub search: String,
    /// Of this kind.
    pub kind: Option<Kind>,
}

/// Suppresses `value` in the caller's workspace, for good. One that has expired is replaced.
///
/// # Errors
/// [`Error::Invalid`]: the value is no address or no domain. [`Error::Conflict`]: it is suppressed already.
pub async fn create(connection: &mut PgConnection, scope: Scope, kind: Kind, value: &str, reason: Reason) -> Result<Suppression> {
    let value = checked(kind, value)?;
    sqlx::query_as(
        "INSERT INTO suppressions AS s (id, workspace_id, kind, value, reason) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (workspace_id, kind, value) DO UPDATE SET reason = excluded.reason, expires_at = NULL, updated_at = now()
         WHERE s.expires_at <= now()
         RETURNING id, workspace_id, kind, value, reason, expires_at, created_at",
    )
    .bind(Uuid::now_v7())
    .bind(scope.workspace_id)
    .bind(kind.name())
    .bind(&value)
    .bind(reason.name())
    .fetch_optional(connection)
    .await?
    .ok_or_else(|| Error::Conflict(format!("the {} {value} is suppressed already", kind.name())))
}

/// What the house adds by itself: an address, for good or for so many days. Of two reasons the longer one stays: what is for good is never
/// shortened, and keeps its reason. Answers whether anything changed.
///
/// # Errors
/// The database failed.
pub async fn suppress(
    connection: &mut PgConnection,
    workspace_id: Uuid,
    address: &str,
    reason: Reason,
    days: Option<i32>,
) -> Result<bool> {
    let changed = sqlx::query(
        "INSERT INTO suppressions AS s (id, workspace_id, kind, value, reason, expires_at)
         VALUES ($1, $2, 'address', $3, $4, now() + make_interval(days => $5::integer))
         ON CONFLICT (workspace_id, kind, value) DO UPDATE SET
             reason = excluded.reason, expires_at = excluded.expires_at, updated_at = now()
         WHERE s.expires_at < coalesce(excluded.expires_at, 'infinity')",
    )
    .bind(Uuid::now_v7())
    .bind(workspace_id)
    .bind(address)
    .bind(reason.name())
    .bind(days)
    .execute(connection)
    .await?
    .rows_affected();
    Ok(changed > 0)
}

/// Removes those that have expired. Answers how many.
///
/// # Errors
/// The database failed.
pub async fn prune(pool: &PgPool) -> Result<u64> {
    let gone = sqlx::query(
        "DELETE FROM suppressions WHERE id IN (
             SELECT id FROM suppressions WHERE expires_at < now() LIMIT 10000 FOR UPDATE SKIP LOCKED)",
    )
    .execute(pool)
    .await?
    .rows_affected();
    Ok(gone)
}

/// The workspace's suppressions that pass the filter, newest first.
///
/// # Errors
/// The database failed.
pub async fn page(pool: &PgPool, scope: Scope, filter: &Filter, request: PageRequest) -> Result<Page<Suppression>> {
    let mut count = QueryBuilder::new("SELECT count(*) FROM suppressions");
    narrow(&mut count, scope, filter);
    let total = count.build_query_scalar().fetch_one(pool).await?;
    let mut rows = QueryBuilder::new("SELECT id, workspace_id, kind, value, reason, expires_at, created_at FROM suppressions");
    narrow(&mut rows, scope, filter);
    rows.push(" ORDER BY id DESC LIMIT ").push_bind(request.limit).push(" OFFSET ").push_bind(request.offset());
    Ok(Page::new(request, total, rows.build_query_as().fetch_all(pool).await?))
}

fn narrow(query: &mut QueryBuilder<Postgres>, scope: Scope, filter: &Filter) {
    query.push(" WHERE (expires_at IS NULL OR expires_at > now()) AND workspace_id = ").push_bind(scope.workspace_id);
    if !filter.search.is_empty() {
        query.push(" AND position(").push_bind(filter.search.to_lowercase()).push(" IN value) > 0");
    }
    if let Some(kind) = filter.kind {
        query.push(" AND kind = ").push_bind(kind.name());
    }
}

/// Lifts a suppression.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Forbidden`]: another workspace's.
pub async fn delete(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<()> {
    let owner: Option<Uuid> = sqlx::query_scalar("SELECT workspace_id FROM suppressions WHERE id = $1 FOR UPDATE")
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?;
    scope.may_change("suppression", id, owner.ok_or_else(|| Error::not_found("suppression", id))?)?;
    sqlx::query("DELETE FROM suppressions WHERE id = $1").bind(id).execute(connection).await?;
    Ok(())
}

/// The value as mails are compared with it: lower case, a domain as its A-label.
fn checked(kind: Kind, value: &str) -> Result<String> {
    parsed(kind, value).map_err(|reason| Error::invalid("value", format!("{value:?} {reason}")))
}

pub(super) fn parsed(kind: Kind, value: &str) -> Result<String, String> {
    let trimmed = value.trim_matches(' ');
    match kind {
        Kind::Address => Address::parse_recipient(trimmed).map(|address| address.as_str().to_owned()),
        Kind::Domain if trimmed.contains('@') => Err("is an address, not a domain".to_owned()),
        // A domain is good if an address in it is.
        Kind::Domain => Address::parse(&format!("postmaster@{trimmed}")).map(|address| address.domain().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_stored_as_mails_are_compared() {
        assert_eq!(checked(Kind::Address, " Ann@Example.COM").expect("good"), "ann@example.com");
        assert_eq!(checked(Kind::Domain, "Bücher.example.com").expect("good"), "xn--bcher-kva.example.com");
        assert!(checked(Kind::Domain, "ann@example.com").is_err());
        assert!(checked(Kind::Address, "a@b..c").is_err());
    }
}
