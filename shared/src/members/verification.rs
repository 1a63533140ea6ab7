//! Shows that an address reaches its user.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::{
    mail_token::{self, Purpose, VERIFICATION},
    payload::{self, AccountMail},
};
use crate::{
    accounts::user::{self, User},
    database,
    error::{Error, Result},
    settings::Mail,
    vault::Links,
};

/// Sends the link, in the caller's transaction. Without a mail relay it is left out, which the log tells.
///
/// # Errors
/// [`Error::TooOften`].
pub(super) async fn send(connection: &mut PgConnection, mail: &Mail, user: &User, now: DateTime<Utc>) -> Result<()> {
    if !mail.is_on() {
        tracing::warn!(user.id = %user.id, "no verification mail: mail.relay_url is not set");
        return Ok(());
    }
    let created = mail_token::create(connection, Purpose::Verification(user.id), &user.email, now).await?;
    let id = created.ok_or_else(|| mail_token::too_many(&user.email))?;
    payload::post(connection, AccountMail::Verification, id).await
}

/// Sends the link again.
///
/// # Errors
/// [`Error::Conflict`]: the address is verified, or there is no mail relay. [`Error::TooOften`].
pub async fn resend(pool: &PgPool, mail: &Mail, user_id: uuid::Uuid, now: DateTime<Utc>) -> Result<()> {
    mail.require()?;
    let mut transaction = database::begin(pool).await?;
    let user = user::find(&mut *transaction, user_id).await?.ok_or_else(|| Error::not_found("user", user_id))?;
    if user.email_verified_at.is_some() {
        return Err(Error::Conflict(format!("the e-mail {} is verified", user.email)));
    }
    send(&mut transaction, mail, &user, now).await?;
    transaction.commit().await?;
    Ok(())
}

/// The address that a link would verify; nothing changes.
///
/// # Errors
/// [`Error::Invalid`]: the token is not good.
pub async fn look(pool: &PgPool, links: &Links, token: &str, now: DateTime<Utc>) -> Result<String> {
    let good = mail_token::look(&mut *pool.acquire().await?, links, VERIFICATION, token, now).await?;
    Ok(good.email)
}

/// Uses the link: the address is verified, and its user welcomed once. Answers the address.
///
/// # Errors
/// [`Error::Invalid`]: the token is not good, or the user has another address by now.
pub async fn verify(pool: &PgPool, links: &Links, mail: &Mail, token: &str, now: DateTime<Utc>) -> Result<String> {
    let mut transaction = database::begin(pool).await?;
    let good = mail_token::use_up(&mut transaction, links, VERIFICATION, token, now).await?;
    let user_id = good.user_id.ok_or_else(mail_token::refused)?;
    let user = user::find(&mut *transaction, user_id).await?.filter(|user| user.email == good.email);
    if user.is_none() {
        return Err(mail_token::refused());
    }
    if user::verify_email(&mut transaction, user_id, &good.email, now).await? && mail.is_on() {
        payload::post(&mut transaction, AccountMail::Welcome, user_id).await?;
    }
    transaction.commit().await?;
    Ok(good.email)
}
