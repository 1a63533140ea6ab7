//! A new password for whoever has forgotten the old one.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::{
    mail_token::{self, Purpose, RESET},
    payload::{self, AccountMail},
};
use crate::{
    accounts::{
        log_in::as_registered,
        login_failures,
        password::{self, Passwords},
        session, user,
    },
    address::Address,
    database,
    error::Result,
    settings::Mail,
    vault::Links,
};

/// Asks for the mail. What is done and how long it takes is the same whether the address has an account or not: that is looked up by
/// the job. An address that had enough of these mails gets no more for an hour; nobody is told.
///
/// # Errors
/// The database failed.
pub async fn ask(pool: &PgPool, mail: &Mail, email: &str, now: DateTime<Utc>) -> Result<()> {
    let email = as_registered(email);
    // What is no address has no account.
    if Address::parse(&email).is_err() {
        return Ok(());
    }
    if !mail.is_on() {
        tracing::warn!("no password reset mail: mail.relay_url is not set");
        return Ok(());
    }
    let mut transaction = database::begin(pool).await?;
    if let Some(id) = mail_token::create(&mut transaction, Purpose::Reset, &email, now).await? {
        payload::post(&mut transaction, AccountMail::Reset, id).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// The address whose password a link would set; nothing changes.
///
/// # Errors
/// [`crate::error::Error::Invalid`]: the token is not good.
pub async fn look(pool: &PgPool, links: &Links, token: &str, now: DateTime<Utc>) -> Result<String> {
    Ok(mail_token::look(&mut *pool.acquire().await?, links, RESET, token, now).await?.email)
}

/// Sets the new password. It came by mail, so the address is verified; every session ends. A password against the rules leaves the
/// token good.
///
/// # Errors
/// [`crate::error::Error::Invalid`] names the token or the password; [`crate::error::Error::Busy`].
pub async fn reset(
    pool: &PgPool,
    links: &Links,
    passwords: &Passwords,
    token: &str,
    new_password: &str,
    now: DateTime<Utc>,
) -> Result<String> {
    let email = look(pool, links, token, now).await?;
    password::check("password", new_password, &email)?;
    let hash = passwords.hash("password", new_password, &email).await?;
    let mut transaction = database::begin(pool).await?;
    mail_token::use_up(&mut transaction, links, RESET, token, now).await?;
    let user = user::find_by_email(&mut *transaction, &email).await?.filter(|user| user.disabled_at.is_none());
    let user = user.ok_or_else(mail_token::refused)?;
    user::set_password(&mut transaction, user.id, &hash).await?;
    user::verify_email(&mut transaction, user.id, &email, now).await?;
    session::revoke_all(&mut transaction, user.id, None, now).await?;
    login_failures::forget(&mut transaction, &email).await?;
    transaction.commit().await?;
    Ok(email)
}
