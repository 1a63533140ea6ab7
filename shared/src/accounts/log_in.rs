//! Logging in, staying logged in, and who is calling.

use chrono::TimeDelta;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{
    login_failures,
    password::Passwords,
    refresh_token::{self, Shown},
    session::{self, Callers, Device, Standing},
    token::Tokens,
    user,
};
use crate::{
    address::Address,
    clock::Clock,
    database,
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

/// An address as it was registered: lower case, the domain as its A-label.
#[must_use]
pub fn as_registered(email: &str) -> String {
    Address::parse(email.trim()).map_or_else(|_| email.trim().to_lowercase(), |address| address.as_str().to_owned())
}

impl Sessions {
    /// A session for whoever knows the password. Unknown address, wrong password and disabled user are one answer, after the same time.
    ///
    /// # Errors
    /// [`Error::Unauthorized`]; [`Error::TooOften`]: it was wrong ten times in a quarter of an hour; [`Error::Busy`].
    pub async fn log_in(&self, pool: &PgPool, email: &str, password: &str, device: &Device) -> Result<Session> {
        const REFUSED: Error = Error::Unauthorized("the e-mail or the password is wrong");
        let email = as_registered(email);
        let place = self.passwords.enter()?;
        login_failures::count(pool, &email, self.clock.now()).await?;
        let user = user::find_by_email(pool, &email).await?;
        let known = user.as_ref().map(|user| user.password_hash.as_str());
        let verified = place.verify(password, known).await?;
        let Some(user) = user.filter(|user| verified && user.disabled_at.is_none()) else { return Err(REFUSED) };
        let mut transaction = database::begin(pool).await?;
        // Whoever changes the password ends all sessions: one that is opened with the old password must not slip in behind.
        if !user::still_has(&mut transaction, user.id, &user.password_hash).await? {
            return Err(REFUSED);
        }
        login_failures::forget(&mut transaction, &email).await?;
        let session = self.open(&mut transaction, user.id, device).await?;
        transaction.commit().await?;
        Ok(session)
    }

    /// The session continued with a refresh token, which is used up. Within ten seconds of its use it gives the same successor again;
    /// after that, it is a copy in wrong hands, and the session is revoked.
    ///
    /// # Errors
    /// [`Error::Unauthorized`].
    pub async fn refresh(&self, pool: &PgPool, token: &str, device: &Device) -> Result<Session> {
        const REFUSED: Error = Error::Unauthorized("the refresh token is not valid");
        let now = self.clock.now();
        let mut transaction = database::begin(pool).await?;
        let shown = refresh_token::show(&mut transaction, token, now).await?;
        let successor = self.tokens.successor(token);
        let (user_id, session_id) = match shown {
            Shown::Good { user_id, session_id } => {
                let expires_at = now + self.refresh_lifetime;
                refresh_token::store(&mut transaction, &successor, user_id, session_id, expires_at).await?;
                session::touch(&mut transaction, session_id, device, now, expires_at).await?;
                (user_id, session_id)
            }
            // The key may have been changed in those seconds.
            Shown::JustUsed { session_id, .. } if !refresh_token::is_of(&mut transaction, &successor, session_id).await? => {
                return Err(REFUSED);
            }
            Shown::JustUsed { user_id, session_id } => (user_id, session_id),
            Shown::Copied { user_id, session_id } => {
                session::end(&mut transaction, session_id, now).await?;
                transaction.commit().await?;
                tracing::warn!(user.id = %user_id, session.id = %session_id, "a refresh token was shown again; its session is revoked");
                return Err(REFUSED);
            }
            Shown::Refused => return Err(REFUSED),
        };
        transaction.commit().await?;
        self.answer(user_id, session_id, successor)
    }

    /// Who calls with this access token: refused at once when the session is revoked or the user disabled.
    ///
    /// # Errors
    /// [`Error::Unauthorized`].
    pub async fn caller(&self, callers: &Callers, access_token: &str) -> Result<Standing> {
        let claims = self.tokens.check(access_token)?;
        let standing = callers.get(claims.session_id).await?.filter(|standing| standing.user_id == claims.user_id);
        standing.ok_or(Error::Unauthorized("the access token is not valid"))
    }

    /// Gives a user, who shows the old password, a new one, and ends all other sessions.
    ///
    /// # Errors
    /// [`Error::Invalid`]: the old one is wrong, or the new one against the rules; [`Error::TooOften`], [`Error::Busy`].
    pub async fn change_password(&self, pool: &PgPool, caller: &Standing, current: &str, new: &str) -> Result<()> {
        let wrong = || Error::invalid("current_password", "is wrong");
        super::password::check("new_password", new, &caller.email)?;
        let place = self.passwords.enter()?;
        login_failures::count(pool, &caller.email, self.clock.now()).await?;
        let user = user::find(pool, caller.user_id).await?.ok_or_else(|| Error::not_found("user", caller.user_id))?;
        if !place.verify(current, Some(&user.password_hash)).await? {
            return Err(wrong());
        }
        let hash = self.passwords.hash("new_password", new, &user.email).await?;
        let mut transaction = database::begin(pool).await?;
        if !user::still_has(&mut transaction, user.id, &user.password_hash).await? {
            return Err(wrong());
        }
        login_failures::forget(&mut transaction, &user.email).await?;
        user::set_password(&mut transaction, user.id, &hash).await?;
        session::revoke_all(&mut transaction, user.id, Some(caller.session_id), self.clock.now()).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Opens a session for a user who has shown who it is.
    ///
    /// # Errors
    /// The database failed.
    pub async fn open(&self, connection: &mut PgConnection, user_id: Uuid, device: &Device) -> Result<Session> {
        let now = self.clock.now();
        let expires_at = now + self.refresh_lifetime;
        let session_id = session::create(connection, user_id, device, now, expires_at).await?;
        let refresh_token = refresh_token::random()?;
        refresh_token::store(connection, &refresh_token, user_id, session_id, expires_at).await?;
        self.answer(user_id, session_id, refresh_token)
    }

    fn answer(&self, user_id: Uuid, session_id: Uuid, refresh_token: String) -> Result<Session> {
        let access_token = self.tokens.issue(user_id, session_id)?;
        Ok(Session { access_token, expires_in: self.tokens.lifetime_seconds(), refresh_token })
    }
}
