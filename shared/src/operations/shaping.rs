//! What the shaping file names and the database does not have.

use sqlx::PgPool;
use uuid::Uuid;

use crate::{deliveries::shaping::Rules, error::Result};

/// Routes and workspaces of the rules that are not there: what is written for them matches nothing.
///
/// # Errors
/// The database failed.
pub async fn unknown_targets(pool: &PgPool, rules: &Rules) -> Result<Vec<String>> {
    let routes: Vec<String> = sqlx::query_scalar("SELECT name FROM routes").fetch_all(pool).await?;
    let mut unknown: Vec<String> = rules
        .unknown_routes(&routes)
        .into_iter()
        .map(|name| format!("route.{name:?}: no route is called so, so this matches nothing"))
        .collect();
    let asked: Vec<Uuid> = rules.workspaces().collect();
    let there: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM workspaces WHERE id = ANY ($1)").bind(&asked).fetch_all(pool).await?;
    unknown.extend(
        asked
            .iter()
            .filter(|id| !there.contains(id))
            .map(|id| format!("workspace.\"{id}\": there is no such workspace, so this matches nothing")),
    );
    Ok(unknown)
}
