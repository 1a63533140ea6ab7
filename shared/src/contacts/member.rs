//! Who stands on which list.

use sqlx::PgConnection;
use uuid::Uuid;

use super::list;
use crate::{
    accounts::scope::Scope,
    error::{Error, Result},
};

/// Contacts that one call adds at most.
pub const MOST_AT_ONCE: usize = 1000;

/// Puts contacts on a list; who is on it already stays as it is. Answers how many are new.
///
/// # Errors
/// [`Error::NotFound`] or [`Error::Forbidden`] for the list or the first contact that is not there or not yours; then nobody is added.
pub async fn add(connection: &mut PgConnection, scope: Scope, list_id: Uuid, contact_ids: &[Uuid]) -> Result<u64> {
    if !(1..=MOST_AT_ONCE).contains(&contact_ids.len()) {
        return Err(Error::invalid("contact_ids", format!("must hold 1 to {MOST_AT_ONCE} ids, not {}", contact_ids.len())));
    }
    list::hold(connection, scope, list_id).await?;
    // Locked in one order, so that two calls never wait for each other.
    let owners: Vec<(Uuid, Option<Uuid>)> = sqlx::query_as(
        "SELECT given.id, c.workspace_id FROM unnest($1::uuid[]) AS given (id)
         LEFT JOIN LATERAL (SELECT workspace_id FROM contacts WHERE id = given.id FOR KEY SHARE) c ON true ORDER BY given.id",
    )
    .bind(contact_ids)
    .fetch_all(&mut *connection)
    .await?;
    for (id, owner) in owners {
        scope.may_change("contact", id, owner.ok_or_else(|| Error::not_found("contact", id))?)?;
    }
    let added = sqlx::query(
        "INSERT INTO list_members (list_id, contact_id) SELECT $1, id FROM unnest($2::uuid[]) AS given (id) ORDER BY id
         ON CONFLICT DO NOTHING",
    )
    .bind(list_id)
    .bind(contact_ids)
    .execute(connection)
    .await?;
    Ok(added.rows_affected())
}

/// Takes a contact off a list.
///
/// # Errors
/// [`Error::NotFound`]: it is not on the list, or there is no such list. [`Error::Forbidden`]: the list is another workspace's.
pub async fn remove(connection: &mut PgConnection, scope: Scope, list_id: Uuid, contact_id: Uuid) -> Result<()> {
    list::hold(connection, scope, list_id).await?;
    let removed = sqlx::query("DELETE FROM list_members WHERE list_id = $1 AND contact_id = $2")
        .bind(list_id)
        .bind(contact_id)
        .execute(connection)
        .await?;
    if removed.rows_affected() == 0 {
        return Err(Error::not_found("list member", contact_id));
    }
    Ok(())
}
