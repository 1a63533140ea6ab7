//! Making users. Everybody gets a workspace of its own unless put into one that exists.

use sqlx::PgPool;
use uuid::Uuid;

use super::{
    password::Passwords,
    user::{self, NewUser, Role, User},
    workspace,
};
use crate::{
    address::Address,
    error::{Error, Result},
};

/// Who is to be a user.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Checked here.
    pub email: String,
    /// Checked here; 8 to 128 characters.
    pub password: String,
    /// What the user may do.
    pub role: Role,
    /// An existing workspace; absent: a new one.
    pub workspace_id: Option<Uuid>,
    /// What a new workspace is called; absent: as the address.
    pub workspace_name: Option<String>,
}

/// Makes a user, and the workspace if there is none yet, in one transaction.
///
/// # Errors
/// [`Error::Invalid`] names the field. [`Error::Conflict`]: the address is taken. [`Error::NotFound`]: no such workspace.
pub async fn register(pool: &PgPool, passwords: &Passwords, new: Registration) -> Result<User> {
    let email = Address::parse(new.email.trim_matches(' '))
        .map_err(|reason| Error::invalid("email", format!("{:?} {reason}", new.email)))?;
    let password_hash = passwords.hash(&new.password).await?;
    let mut transaction = pool.begin().await?;
    let workspace_id = match new.workspace_id {
        Some(id) => id,
        None => {
            let name: String = new.workspace_name.unwrap_or_else(|| email.as_str().chars().take(200).collect());
            workspace::create(&mut transaction, &name).await?.id
        }
    };
    let new = NewUser { workspace_id, email: email.as_str().to_owned(), password_hash, role: new.role };
    let id = user::create(&mut transaction, new).await?;
    transaction.commit().await?;
    user::find(pool, id).await?.ok_or_else(|| Error::not_found("user", id))
}
