//! Jobs of this domain.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    error::Result,
    queue::{
        job::{self, Enqueue},
        lane::Lane,
        payload::Job,
    },
};

/// Which mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountMail {
    /// Somebody is asked into a workspace. The id is a mail token's.
    Invitation,
    /// Is this your address? The id is a mail token's.
    Verification,
    /// A new password. The id is a mail token's.
    Reset,
    /// The account is ready. The id is the user's.
    Welcome,
}

impl AccountMail {
    /// As in payloads and Message-IDs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invitation => "invitation",
            Self::Verification => "verification",
            Self::Reset => "reset",
            Self::Welcome => "welcome",
        }
    }
}

impl fmt::Display for AccountMail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Sends one mail about an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SendAccountMail {
    /// Which.
    pub mail: AccountMail,
    /// What it is about: a mail token, or a user.
    pub id: Uuid,
}

impl Job for SendAccountMail {
    const NAME: &'static str = "SendAccountMail";
    const LANE: Lane = Lane::Critical;
    // A relay that is away for some minutes: people wait for these.
    const ATTEMPTS: i32 = 12;
    const TIMEOUT: Duration = Duration::from_secs(600);
}

/// Puts the mail in line, in the caller's transaction. It is the house's job: who asked for a new password is nobody's business.
///
/// # Errors
/// The database failed.
pub(super) async fn post(connection: &mut PgConnection, mail: AccountMail, id: Uuid) -> Result<()> {
    let options = Enqueue { unique_key: Some(format!("{mail} {id}")), priority: 10, ..Enqueue::default() };
    job::enqueue(connection, &SendAccountMail { mail, id }, options).await?;
    Ok(())
}
