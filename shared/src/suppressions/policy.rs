//! The noun: what a workspace does about bounces and complaints. A workspace that has said nothing has [`Policy::default`].

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::{
    accounts::scope::Scope,
    error::{Error, FieldError, Result},
    version::Expected,
};

/// A row of `suppression_policies`. A hard bounce and a complaint suppress for good under every policy.
#[derive(Clone, Debug, PartialEq, FromRow, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SuppressionPolicy)]
pub struct Policy {
    /// So many soft bounces of an address, without an accepted mail in between, suppress it for `soft_days`.
    #[schema(minimum = 1, maximum = 100, example = 5)]
    pub soft_bounces: i32,
    /// Days.
    #[schema(minimum = 1, maximum = 3650, example = 30)]
    pub soft_days: i32,
    /// A campaign of whose accepted mails more than this percentage is complained about carries a warning.
    #[schema(exclusive_minimum = 0.0, maximum = 100.0, example = 0.1)]
    pub complaint_warn_percent: f64,
    /// A campaign of whose accepted mails more than this percentage is complained about is paused.
    #[schema(exclusive_minimum = 0.0, maximum = 100.0, example = 0.3)]
    pub complaint_pause_percent: f64,
    /// Both are judged from so many accepted mails of a campaign on.
    #[schema(minimum = 1, maximum = 1_000_000_000, example = 1000)]
    pub complaint_least_accepted: i64,
}

impl Default for Policy {
    /// The percentages are those at which Gmail and Yahoo begin to mind (0.1) and to refuse (0.3).
    fn default() -> Self {
        Self {
            soft_bounces: 5,
            soft_days: 30,
            complaint_warn_percent: 0.1,
            complaint_pause_percent: 0.3,
            complaint_least_accepted: 1000,
        }
    }
}

impl Policy {
    /// # Errors
    /// [`Error::Invalid`] names what is out of bounds.
    fn check(&self) -> Result<()> {
        let mut errors = Vec::new();
        let mut bound = |field, good: bool, message: String| {
            if !good {
                errors.push(FieldError::new(field, message));
            }
        };
        bound(
            "soft_bounces",
            (1..=100).contains(&self.soft_bounces),
            format!("must be between 1 and 100, not {}", self.soft_bounces),
        );
        bound("soft_days", (1..=3650).contains(&self.soft_days), format!("must be between 1 and 3650, not {}", self.soft_days));
        for (field, percent) in
            [("complaint_warn_percent", self.complaint_warn_percent), ("complaint_pause_percent", self.complaint_pause_percent)]
        {
            bound(field, percent > 0.0 && percent <= 100.0, format!("must be above 0 and at most 100, not {percent}"));
        }
        bound(
            "complaint_warn_percent",
            self.complaint_warn_percent <= self.complaint_pause_percent,
            "must not be above complaint_pause_percent".to_owned(),
        );
        bound(
            "complaint_least_accepted",
            (1..=1_000_000_000).contains(&self.complaint_least_accepted),
            format!("must be between 1 and 1000000000, not {}", self.complaint_least_accepted),
        );
        if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
    }
}

/// A policy, and since when it stands; the defaults stand since the workspace was made.
#[derive(Clone, Debug, FromRow)]
pub struct Standing {
    /// What is done.
    #[sqlx(flatten)]
    pub policy: Policy,
    /// When it was set.
    pub updated_at: DateTime<Utc>,
}

const SELECT: &str = "SELECT coalesce(p.soft_bounces, $2) AS soft_bounces, coalesce(p.soft_days, $3) AS soft_days,
    coalesce(p.complaint_warn_percent, $4) AS complaint_warn_percent, coalesce(p.complaint_pause_percent, $5) AS complaint_pause_percent,
    coalesce(p.complaint_least_accepted, $6) AS complaint_least_accepted, coalesce(p.updated_at, w.created_at) AS updated_at
    FROM workspaces w LEFT JOIN suppression_policies p ON p.workspace_id = w.id WHERE w.id = $1";

/// The workspace's policy.
///
/// # Errors
/// [`Error::NotFound`]: there is no such workspace.
pub async fn of(connection: &mut PgConnection, workspace_id: Uuid) -> Result<Standing> {
    let default = Policy::default();
    sqlx::query_as(SELECT)
        .bind(workspace_id)
        .bind(default.soft_bounces)
        .bind(default.soft_days)
        .bind(default.complaint_warn_percent)
        .bind(default.complaint_pause_percent)
        .bind(default.complaint_least_accepted)
        .fetch_optional(connection)
        .await?
        .ok_or_else(|| Error::not_found("workspace", workspace_id))
}

/// Sets the policy of the caller's workspace, in the caller's transaction.
///
/// # Errors
/// [`Error::Invalid`]: a value is out of bounds. [`Error::Outdated`]: it is not what was expected.
pub async fn set(connection: &mut PgConnection, scope: Scope, expected: &Expected, policy: &Policy) -> Result<Standing> {
    sqlx::query("SELECT 1 FROM workspaces WHERE id = $1 FOR NO KEY UPDATE")
        .bind(scope.workspace_id)
        .execute(&mut *connection)
        .await?;
    let found = of(connection, scope.workspace_id).await?;
    expected.check("policy of workspace", scope.workspace_id, found.updated_at)?;
    policy.check()?;
    sqlx::query(
        "INSERT INTO suppression_policies (workspace_id, soft_bounces, soft_days, complaint_warn_percent, complaint_pause_percent,
                                           complaint_least_accepted)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (workspace_id) DO UPDATE SET soft_bounces = excluded.soft_bounces, soft_days = excluded.soft_days,
             complaint_warn_percent = excluded.complaint_warn_percent, complaint_pause_percent = excluded.complaint_pause_percent,
             complaint_least_accepted = excluded.complaint_least_accepted, updated_at = now()",
    )
    .bind(scope.workspace_id)
    .bind(policy.soft_bounces)
    .bind(policy.soft_days)
    .bind(policy.complaint_warn_percent)
    .bind(policy.complaint_pause_percent)
    .bind(policy.complaint_least_accepted)
    .execute(&mut *connection)
    .await?;
    of(connection, scope.workspace_id).await
}
