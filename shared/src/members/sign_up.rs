//! Somebody comes by itself: a workspace and its owner.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::verification;
use crate::{
    accounts::{
        password::Passwords,
        register::{self, Registration},
        user::User,
    },
    database,
    error::Result,
    settings::Mail,
};

/// Makes the user, and the workspace where the registration names none; asks by mail whether the address is right.
///
/// # Errors
/// [`crate::error::Error::Invalid`] names the field; [`crate::error::Error::Conflict`]: the address is taken;
/// [`crate::error::Error::NotFound`]: no such workspace; [`crate::error::Error::Busy`].
pub async fn sign_up(pool: &PgPool, passwords: &Passwords, mail: &Mail, new: Registration, now: DateTime<Utc>) -> Result<User> {
    let checked = new.check(passwords).await?;
    let mut transaction = database::begin(pool).await?;
    let user = register::insert(&mut transaction, checked, None).await?;
    verification::send(&mut transaction, mail, &user, now).await?;
    transaction.commit().await?;
    Ok(user)
}
