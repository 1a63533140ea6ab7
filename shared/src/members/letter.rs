//! The question of the job: what does this mail say, and is it still wanted?

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    invitation,
    mail_token::{self, INVITATION, RESET, VERIFICATION},
    payload::AccountMail,
};
use crate::{
    accounts::user::{self, User},
    error::Result,
};

/// What one mail says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// To which address.
    pub to: String,
    /// What the recipient is called, if that is known.
    pub name: String,
    /// The workspace that it is about.
    pub workspace: String,
    /// Who invited; empty in other mails.
    pub invited_by: String,
    /// The row of its link, if it has one.
    pub token_id: Option<Uuid>,
}

/// Finds it. `None`: nobody waits for it any more (its link was used, or has expired, or a newer mail has taken its place), or nobody
/// ever did (a forgotten password of an address without an account).
///
/// # Errors
/// The database failed.
pub async fn find(pool: &PgPool, mail: AccountMail, id: Uuid, now: DateTime<Utc>) -> Result<Option<Letter>> {
    let mut connection = pool.acquire().await?;
    let purpose = match mail {
        AccountMail::Welcome => return Ok(enabled(user::find(&mut *connection, id).await?).map(|user| to(user, None))),
        AccountMail::Invitation => INVITATION,
        AccountMail::Verification => VERIFICATION,
        AccountMail::Reset => RESET,
    };
    let Some(good) = mail_token::find(&mut connection, purpose, id, now).await? else { return Ok(None) };
    if mail == AccountMail::Invitation {
        let invitation = invitation::by_token(&mut connection, &good).await?;
        return Ok(invitation.map(|invitation| Letter {
            to: invitation.email,
            name: String::new(),
            workspace: invitation.workspace_name,
            invited_by: invitation.invited_by,
            token_id: Some(good.id),
        }));
    }
    let user = match good.user_id {
        Some(id) => user::find(&mut *connection, id).await?.filter(|user| user.email == good.email),
        None => user::find_by_email(&mut *connection, &good.email).await?,
    };
    Ok(enabled(user).map(|user| to(user, Some(good.id))))
}

fn enabled(user: Option<User>) -> Option<User> {
    user.filter(|user| user.disabled_at.is_none())
}

fn to(user: User, token_id: Option<Uuid>) -> Letter {
    Letter { to: user.email, name: user.name, workspace: user.workspace_name, invited_by: String::new(), token_id }
}
