//! The switch that holds all sending back, over all workers: one row, which the claim, the admission and every running turn respect.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgPool};

use crate::{
    error::{Error, Result},
    version::Expected,
};

/// Why nothing, or not everything, is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Hold {
    /// This database is a copy that nobody has confirmed: nothing leaves the house.
    Restored,
    /// A person holds back everything.
    Everything,
    /// A person holds back campaigns; account mail and tests go out.
    Campaigns,
}

impl Hold {
    /// Mails of campaigns are held back by each of them. Whether mails on the critical lane are held back too.
    #[must_use]
    pub const fn holds_critical(self) -> bool {
        matches!(self, Self::Restored | Self::Everything)
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "restored" => Some(Self::Restored),
            "everything" => Some(Self::Everything),
            "campaigns" => Some(Self::Campaigns),
            _ => None,
        }
    }
}

/// The switch, and what follows from it and from the installation.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// What holds now; `None`: everything is sent.
    pub hold: Option<Hold>,
    /// What an operator said, if sending was paused by one.
    pub reason: Option<String>,
    /// When an operator paused it.
    pub paused_at: Option<DateTime<Utc>>,
    /// When the switch was used last.
    pub updated_at: DateTime<Utc>,
}

#[derive(FromRow)]
struct Row {
    hold: Option<String>,
    reason: Option<String>,
    paused_at: Option<DateTime<Utc>>,
    updated_at: DateTime<Utc>,
}

/// What holds now; asked by every worker once a second.
///
/// # Errors
/// The database failed.
pub async fn hold(pool: &PgPool) -> Result<Option<Hold>> {
    let hold: Option<String> = sqlx::query_scalar("SELECT sending_hold()").fetch_one(pool).await?;
    Ok(hold.as_deref().and_then(Hold::named))
}

/// The whole of it, for people.
///
/// # Errors
/// The database failed.
pub async fn standing(connection: &mut PgConnection) -> Result<Standing> {
    let row: Row = sqlx::query_as(
        "SELECT sending_hold() AS hold, CASE WHEN paused_at IS NOT NULL THEN reason END AS reason, paused_at, updated_at
         FROM sending_switch",
    )
    .fetch_one(connection)
    .await?;
    let Row { hold, reason, paused_at, updated_at } = row;
    Ok(Standing { hold: hold.as_deref().and_then(Hold::named), reason, paused_at, updated_at })
}

/// Keeps others from using the switch until the transaction ends.
///
/// # Errors
/// [`Error::Outdated`]: it was used since.
pub async fn lock(transaction: &mut PgConnection, expected: &Expected) -> Result<()> {
    let updated_at = sqlx::query_scalar("SELECT updated_at FROM sending_switch FOR UPDATE").fetch_one(transaction).await?;
    expected.check("the switch", "of sending", updated_at)
}

/// Holds sending back: no worker starts another message within 5 s. A second call changes scope and reason, and keeps the time.
///
/// # Errors
/// [`Error::Invalid`]: the reason is longer than 500 characters.
pub async fn pause(connection: &mut PgConnection, everything: bool, reason: Option<&str>) -> Result<()> {
    let reason = reason.map(str::trim).filter(|reason| !reason.is_empty());
    if let Some(long) = reason.map(|reason| reason.chars().count()).filter(|count| *count > 500) {
        return Err(Error::invalid("reason", format!("must be 500 characters at most, not {long}")));
    }
    sqlx::query(
        "UPDATE sending_switch SET scope = $1, reason = $2, paused_at = coalesce(paused_at, now()), updated_at = clock_timestamp()",
    )
    .bind(if everything { "everything" } else { "campaigns" })
    .bind(reason)
    .execute(connection)
    .await?;
    Ok(())
}

/// Lets sending go on. Answers whether it was paused. A restored copy stays held back.
///
/// # Errors
/// The database failed.
pub async fn resume(connection: &mut PgConnection) -> Result<bool> {
    let resumed = sqlx::query(
        "UPDATE sending_switch SET paused_at = NULL, reason = NULL, updated_at = clock_timestamp() WHERE paused_at IS NOT NULL",
    )
    .execute(connection)
    .await?
    .rows_affected();
    Ok(resumed == 1)
}
