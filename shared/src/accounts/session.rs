//! Logging in, staying logged in, and who is calling.

use chrono::TimeDelta;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{
    password::Passwords,
    refresh_token::{self, Spent},
    token::Tokens,
    user::{self, User},
};
use crate::{
    address::Address,
    clock::Clock,
    error::{Error, Result},
};

/// What a client keeps.
#[derive(Clone, Debug)]
pub struct Session {
    /// For `Authorization: Bearer`.
    pub access_token: String,
    /// Seconds that the access token is good for.
    pub expires_in: i64,
    /// Good once, for a new session.
    pub refresh_token: String,
}

/// What sessions are made with.
#[derive(Clone)]
pub struct Sessions {
    /// Signs access tokens.
    pub tokens: Tokens,
    /// Verifies passwords.
    pub passwords: Passwords,
    /// Business time.
    pub clock: Clock,
    /// How long a refresh token is good for.
    pub refresh_lifetime: TimeDelta,
}

impl Sessions {
    /// A session for whoever knows the password. Unknown address, wrong password and disabled user are one answer, after the same time.
    ///
    /// # Errors
    /// [`Error::Unauthorized`].
    pub async fn log_in(&self, pool: &PgPool, email: &str, password: &str) -> Result<Session> {
        // As it was registered: lower case, the domain as its A-label.
        let email =
            Address::parse(email.trim()).map_or_else(|_| email.trim().to_lowercase(), |address| address.as_str().to_owned());
        let user = user::find_by_email(pool, &email).await?;
        let known = user.as_ref().map(|user| user.password_hash.as_str());
        let verified = self.passwords.verify(password, known).await?;
        match user {
            Some(user) if verified && user.disabled_at.is_none() => {
                let mut transaction = pool.begin().await?;
                let session = self.open(&mut transaction, user.id).await?;
                transaction.commit().await?;
                Ok(session)
            }
            _ => Err(Error::Unauthorized("the e-mail or the password is wrong")),
        }
    }

    /// A new session for a refresh token, which is used up. A token that was used before is a copy in wrong hands: all refresh
    /// tokens of its user are revoked.
    ///
    /// # Errors
    /// [`Error::Unauthorized`].
    pub async fn refresh(&self, pool: &PgPool, token: &str) -> Result<Session> {
        const REFUSED: Error = Error::Unauthorized("the refresh token is not valid");
        let now = self.clock.now();
        let mut transaction = pool.begin().await?;
        match refresh_token::spend(&mut transaction, token, now).await? {
            Spent::Good(user_id) => {
                let session = self.open(&mut transaction, user_id).await?;
                transaction.commit().await?;
                if user::find(pool, user_id).await?.is_none_or(|user| user.disabled_at.is_some()) {
                    return Err(REFUSED);
                }
                Ok(session)
            }
            Spent::UsedBefore(user_id) => {
                let revoked = refresh_token::revoke_all(&mut transaction, user_id, now).await?;
                transaction.commit().await?;
                tracing::warn!(user.id = %user_id, tokens.revoked = revoked, "a refresh token was shown twice");
                Err(REFUSED)
            }
            Spent::Unknown => Err(REFUSED),
        }
    }

    /// The user whose access token it is.
    ///
    /// # Errors
    /// [`Error::Unauthorized`]: a bad token, or its user is gone or disabled.
    pub async fn caller(&self, pool: &PgPool, access_token: &str) -> Result<User> {
        let user_id = self.tokens.check(access_token)?;
        match user::find(pool, user_id).await? {
            Some(user) if user.disabled_at.is_none() => Ok(user),
            _ => Err(Error::Unauthorized("the access token is not valid")),
        }
    }

    async fn open(&self, connection: &mut PgConnection, user_id: Uuid) -> Result<Session> {
        let now = self.clock.now();
        let refresh_token = refresh_token::create(connection, user_id, now, now + self.refresh_lifetime).await?;
        Ok(Session { access_token: self.tokens.issue(user_id)?, expires_in: self.tokens.lifetime_seconds(), refresh_token })
    }
}
