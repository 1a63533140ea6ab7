//! Changing members of a workspace: their level, their address, whether they may log in. A workspace keeps an owner.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    level::Level,
    scope::Scope,
    session,
    user::{self, Change, Role, User},
    workspace,
};
use crate::{
    address::Address,
    error::{Error, Result},
    version::Expected,
};

/// Who changes a member.
#[derive(Clone, Copy, Debug)]
pub struct Actor {
    /// Itself.
    pub user_id: Uuid,
    /// Where it acts.
    pub scope: Scope,
}

/// The member, whom the actor may change. Whoever else changes owners of the workspace waits until the transaction ends: of two owners
/// who make each other an editor, one stays; of two admins who disable each other, too.
async fn hold(connection: &mut PgConnection, actor: Actor, id: Uuid) -> Result<User> {
    let user = user::find(&mut *connection, id).await?.ok_or_else(|| Error::not_found("user", id))?;
    actor.scope.may_change("user", id, user.workspace_id)?;
    if user.role == Role::Admin && !actor.scope.admin {
        return Err(Error::Forbidden(format!("user {id} is an admin, whom admins alone change")));
    }
    workspace::lock(&mut *connection, user.workspace_id).await?;
    // In one order whoever asks.
    for id in BTreeSet::from([actor.user_id, id]) {
        user::lock(&mut *connection, id).await?;
    }
    if user::find(&mut *connection, actor.user_id).await?.is_none_or(|actor| actor.disabled_at.is_some()) {
        return Err(Error::Forbidden("you were disabled meanwhile".to_owned()));
    }
    user::find(connection, id).await?.ok_or_else(|| Error::not_found("user", id))
}

/// # Errors
/// [`Error::Conflict`]: nobody else owns the workspace.
async fn another_owner(connection: &mut PgConnection, user: &User) -> Result<()> {
    let others: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM users WHERE workspace_id = $1 AND id <> $2 AND level = 'owner' AND disabled_at IS NULL",
    )
    .bind(user.workspace_id)
    .bind(user.id)
    .fetch_one(connection)
    .await?;
    if others > 0 || user.level != Level::Owner || user.disabled_at.is_some() {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "{} is the last owner of the workspace {:?}: make somebody else an owner first",
        user.email, user.workspace_name
    )))
}

/// Changes a member; answers it before and after.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Invalid`]; [`Error::Outdated`]: it is not what was expected;
/// [`Error::Conflict`]: the address is taken, or nobody would own the workspace.
pub async fn change(
    connection: &mut PgConnection,
    actor: Actor,
    id: Uuid,
    expected: &Expected,
    mut change: Change,
) -> Result<(User, User)> {
    let before = hold(connection, actor, id).await?;
    expected.check("user", id, before.updated_at)?;
    if let Some(name) = &change.name {
        change.name = Some(user::checked_name(name)?);
    }
    if let Some(email) = &change.email {
        let parsed =
            Address::parse(email.trim_matches(' ')).map_err(|reason| Error::invalid("email", format!("{email:?} {reason}")))?;
        change.email = Some(parsed.as_str().to_owned());
    }
    if change.level.is_some_and(|level| level != Level::Owner) {
        another_owner(connection, &before).await?;
    }
    let after = user::update(connection, id, change).await?;
    Ok((before, after))
}

/// Ends a member's sessions and lets it log in no more; a second time changes nothing.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`]; [`Error::Conflict`]: it is the actor itself, or nobody would own the workspace.
pub async fn disable(connection: &mut PgConnection, actor: Actor, id: Uuid, now: DateTime<Utc>) -> Result<User> {
    let user = hold(connection, actor, id).await?;
    if id == actor.user_id {
        return Err(Error::Conflict("nobody disables itself: ask another owner".to_owned()));
    }
    another_owner(connection, &user).await?;
    user::set_disabled(connection, id, Some(now)).await?;
    session::revoke_all(connection, id, None, now).await?;
    user::find(connection, id).await?.ok_or_else(|| Error::not_found("user", id))
}

/// Lets a member log in again.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Forbidden`].
pub async fn enable(connection: &mut PgConnection, actor: Actor, id: Uuid) -> Result<User> {
    hold(connection, actor, id).await?;
    user::set_disabled(connection, id, None).await?;
    user::find(connection, id).await?.ok_or_else(|| Error::not_found("user", id))
}
