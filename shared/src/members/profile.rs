//! Who somebody is: changing a name, a level, an address. A new address is asked by mail whether it is right.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::verification;
use crate::{
    accounts::{
        log_in::Sessions,
        login_failures,
        member::{self, Actor},
        scope::Scope,
        session::Standing,
        user::{self, Change, Role, User},
    },
    database,
    error::{Error, Result},
    settings::Mail,
    version::Expected,
};

/// Changes a member.
///
/// # Errors
/// As [`member::change`]. [`Error::Forbidden`]: an address is changed by its user or by an admin.
pub async fn change(
    pool: &PgPool,
    mail: &Mail,
    actor: Actor,
    id: Uuid,
    expected: &Expected,
    change: Change,
    now: DateTime<Utc>,
) -> Result<User> {
    if change.email.is_some() && !actor.scope.admin {
        user::visible(pool, actor.scope, id).await?;
        return Err(Error::Forbidden("an e-mail is changed by its user, at /me, or by an admin".to_owned()));
    }
    apply(pool, mail, actor, id, expected, change, now).await
}

async fn apply(
    pool: &PgPool,
    mail: &Mail,
    actor: Actor,
    id: Uuid,
    expected: &Expected,
    change: Change,
    now: DateTime<Utc>,
) -> Result<User> {
    let mut transaction = database::begin(pool).await?;
    let (before, after) = member::change(&mut transaction, actor, id, expected, change).await?;
    if before.email != after.email {
        verification::send(&mut transaction, mail, &after, now).await?;
    }
    transaction.commit().await?;
    Ok(after)
}

/// Changes the caller's own name, or its address, for which it must show its password.
///
/// # Errors
/// [`Error::Invalid`] names the field; [`Error::Conflict`]: the address is taken; [`Error::Outdated`]: the caller is not
/// what was expected; [`Error::TooOften`], [`Error::Busy`].
pub async fn change_own(
    pool: &PgPool,
    sessions: &Sessions,
    mail: &Mail,
    caller: &Standing,
    expected: &Expected,
    change: Change,
    password: Option<&str>,
) -> Result<User> {
    let now = sessions.clock.now();
    if change.email.is_some() {
        let password = password.ok_or_else(|| Error::invalid("password", "is required to change the e-mail"))?;
        let place = sessions.passwords.enter()?;
        login_failures::count(pool, &caller.email, now).await?;
        let user = user::find(pool, caller.user_id).await?.ok_or_else(|| Error::not_found("user", caller.user_id))?;
        if !place.verify(password, Some(&user.password_hash)).await? {
            return Err(Error::invalid("password", "is wrong"));
        }
        login_failures::forget(&mut *pool.acquire().await?, &caller.email).await?;
    }
    let scope = Scope { workspace_id: caller.workspace_id, admin: caller.role == Role::Admin };
    let change = Change { level: None, ..change };
    apply(pool, mail, Actor { user_id: caller.user_id, scope }, caller.user_id, expected, change, now).await
}
