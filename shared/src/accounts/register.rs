//! Making users. Everybody gets a workspace of its own unless put into one that exists.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{
    level::Level,
    password::Passwords,
    user::{self, NewUser, Role, User},
    workspace,
};
use crate::{
    address::Address,
    database,
    error::{Error, Result},
};

/// Who is to be a user.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Checked here.
    pub email: String,
    /// For people; checked here.
    pub name: String,
    /// Checked here; see [`super::password::check`].
    pub password: String,
    /// Whether the user may do everything.
    pub role: Role,
    /// What the user may do in the workspace.
    pub level: Level,
    /// An existing workspace; absent: a new one.
    pub workspace_id: Option<Uuid>,
    /// What a new workspace is called; absent: as the address.
    pub workspace_name: Option<String>,
}

/// A registration whose fields are good and whose password is hashed.
pub struct Checked {
    email: Address,
    name: String,
    password_hash: String,
    role: Role,
    level: Level,
    workspace_id: Option<Uuid>,
    workspace_name: Option<String>,
}

impl Registration {
    /// Checks the fields and hashes the password, which takes a while: before the transaction.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the field; [`Error::Busy`].
    pub async fn check(self, passwords: &Passwords) -> Result<Checked> {
        let email = Address::parse(self.email.trim_matches(' '))
            .map_err(|reason| Error::invalid("email", format!("{:?} {reason}", self.email)))?;
        let name = user::checked_name(&self.name)?;
        if let Some(name) = &self.workspace_name {
            workspace::checked_name("workspace_name", name)?;
        }
        if self.workspace_id.is_none() && self.level != Level::Owner {
            return Err(Error::invalid("level", "must be \"owner\" where no workspace_id is given: a new workspace needs one"));
        }
        let password_hash = passwords.hash("password", &self.password, email.as_str()).await?;
        let Self { role, level, workspace_id, workspace_name, .. } = self;
        Ok(Checked { email, name, password_hash, role, level, workspace_id, workspace_name })
    }
}

/// Makes the user, and the workspace if there is none yet.
///
/// # Errors
/// [`Error::Conflict`]: the address is taken. [`Error::NotFound`]: no such workspace.
pub async fn insert(connection: &mut PgConnection, new: Checked, email_verified_at: Option<DateTime<Utc>>) -> Result<User> {
    let Checked { email, name, password_hash, role, level, workspace_id, workspace_name } = new;
    let workspace_id = match workspace_id {
        Some(id) => id,
        None => {
            let name = workspace_name.unwrap_or_else(|| email.as_str().chars().take(200).collect());
            workspace::create(connection, &name).await?.id
        }
    };
    let email = email.as_str().to_owned();
    let id = user::create(connection, NewUser { workspace_id, email, name, password_hash, role, level, email_verified_at }).await?;
    user::find(connection, id).await?.ok_or_else(|| Error::not_found("user", id))
}

/// All of it, in one transaction and without a mail.
///
/// # Errors
/// As [`Registration::check`] and [`insert`].
pub async fn register(pool: &PgPool, passwords: &Passwords, new: Registration) -> Result<User> {
    let checked = new.check(passwords).await?;
    let mut transaction = database::begin(pool).await?;
    let user = insert(&mut transaction, checked, None).await?;
    transaction.commit().await?;
    Ok(user)
}
