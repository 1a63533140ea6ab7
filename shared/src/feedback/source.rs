//! The noun: who may tell a workspace's bounces and complaints over HTTP, and what it signs with.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use super::fact::Source as Way;
use crate::{
    accounts::scope::Scope,
    error::{Error, Result},
    page::{Page, PageRequest},
    settings::Secret,
    vault::Vault,
};

/// Which provider, and so which signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = FeedbackSourceKind)]
pub enum Kind {
    /// Amazon SES, through an SNS topic.
    Ses,
    /// SendGrid's signed event webhook.
    Sendgrid,
    /// Mailgun.
    Mailgun,
    /// Postmark, with basic authentication.
    Postmark,
    /// Anybody who signs as we say.
    Generic,
}

impl Kind {
    /// As in the table and in addresses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.way().name()
    }

    /// As facts tell it.
    #[must_use]
    pub const fn way(self) -> Way {
        match self {
            Self::Ses => Way::Ses,
            Self::Sendgrid => Way::Sendgrid,
            Self::Mailgun => Way::Mailgun,
            Self::Postmark => Way::Postmark,
            Self::Generic => Way::Generic,
        }
    }
}

impl TryFrom<String> for Kind {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        [Self::Ses, Self::Sendgrid, Self::Mailgun, Self::Postmark, Self::Generic]
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| format!("there is no kind {name:?}"))
    }
}

/// A row of `feedback_sources` without its secret.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0018_bounces.sql")]
pub struct FeedbackSource {
    pub id: Uuid,
    pub workspace_id: Uuid,
    #[sqlx(try_from = "String")]
    pub kind: Kind,
    pub name: String,
    pub topic: Option<String>,
    pub everywhere: bool,
    pub received_at: Option<DateTime<Utc>>,
    pub refused_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A source as somebody writes it.
#[derive(Clone, Debug)]
pub struct NewSource {
    /// Which provider.
    pub kind: Kind,
    /// 1 to 200 characters.
    pub name: String,
    /// What it signs with: SendGrid's public key, Mailgun's signing key, Postmark's password. Absent: one is made, where we may choose.
    pub secret: Option<Secret>,
    /// Of SES: the topic's ARN.
    pub topic: Option<String>,
    /// It may tell of every workspace's mails.
    pub everywhere: bool,
}

const COLUMNS: &str = "id, workspace_id, kind, name, topic, everywhere, received_at, refused_at, created_at, updated_at";
/// Octets of a secret that we make.
const MADE: usize = 32;

/// Makes a source. Answers the secret where it was made here: it is told once.
///
/// # Errors
/// [`Error::Invalid`] names the field. [`Error::Conflict`]: the name is taken. [`Error::Forbidden`]: only an admin's may tell of every
/// workspace's mails.
pub async fn create(
    connection: &mut PgConnection,
    scope: Scope,
    vault: &Vault,
    new: NewSource,
) -> Result<(FeedbackSource, Option<Secret>)> {
    if new.everywhere && !scope.admin {
        return Err(Error::Forbidden("a source that tells of every workspace's mails is for admins to make".to_owned()));
    }
    let name = new.name.trim();
    if !(1..=200).contains(&name.chars().count()) {
        return Err(Error::invalid("name", format!("must have 1 to 200 characters, not {}", name.chars().count())));
    }
    let topic = new.topic.as_deref().map(str::trim).filter(|topic| !topic.is_empty());
    match (new.kind, topic) {
        (Kind::Ses, Some(arn)) if arn.starts_with("arn:aws") && arn.contains(":sns:") && arn.len() <= 256 => {}
        (Kind::Ses, _) => {
            return Err(Error::invalid("topic", "must be the ARN of the SNS topic, such as arn:aws:sns:eu-west-1:1:feedback"));
        }
        (_, Some(_)) => return Err(Error::invalid("topic", "is for ses alone")),
        (_, None) => {}
    }
    let (secret, made) = secret(new.kind, new.secret)?;
    let id = Uuid::now_v7();
    let sealed = secret.map(|secret| vault.seal(secret.expose().as_bytes(), id.as_bytes())).transpose().map_err(Error::internal)?;
    let insert = format!(
        "INSERT INTO feedback_sources (id, workspace_id, kind, name, secret_sealed, topic, everywhere) VALUES ($1, $2, $3, $4, $5, $6, $7)
         RETURNING {COLUMNS}"
    );
    let source = sqlx::query_as(sqlx::AssertSqlSafe(insert))
        .bind(id)
        .bind(scope.workspace_id)
        .bind(new.kind.name())
        .bind(name)
        .bind(sealed)
        .bind(topic)
        .bind(new.everywhere)
        .fetch_one(connection)
        .await
        .map_err(|error| match Error::constraint(&error) {
            Some("feedback_sources_name_key") => Error::Conflict(format!("a source with the name {name:?} exists already")),
            _ => error.into(),
        })?;
    Ok((source, made))
}

/// The secret of a new source, and the same once more where it was made here.
fn secret(kind: Kind, given: Option<Secret>) -> Result<(Option<Secret>, Option<Secret>)> {
    let given = given.filter(|secret| !secret.expose().is_empty());
    match (kind, given) {
        (Kind::Ses, None) => Ok((None, None)),
        (Kind::Ses, Some(_)) => Err(Error::invalid("secret", "is not for ses: Amazon's certificates sign")),
        (Kind::Sendgrid, Some(key)) if STANDARD.decode(key.expose()).is_ok_and(|der| (60..200).contains(&der.len())) => {
            Ok((Some(key), None))
        }
        (Kind::Sendgrid, _) => Err(Error::invalid("secret", "must be the verification key that SendGrid shows, in base64")),
        (Kind::Mailgun, None) => Err(Error::invalid("secret", "must be Mailgun's HTTP webhook signing key")),
        (_, Some(secret)) if !(16..=500).contains(&secret.expose().len()) => {
            Err(Error::invalid("secret", "must have 16 to 500 octets"))
        }
        (_, Some(secret)) => Ok((Some(secret), None)),
        (Kind::Postmark | Kind::Generic, None) => {
            let mut octets = [0; MADE];
            rand::Rng::fill(&mut rand::rng(), &mut octets);
            let made = URL_SAFE_NO_PAD.encode(octets);
            Ok((Some(made.clone().into()), Some(made.into())))
        }
    }
}

/// The workspace's sources, newest first.
///
/// # Errors
/// The database failed.
pub async fn page(pool: &PgPool, scope: Scope, request: PageRequest) -> Result<Page<FeedbackSource>> {
    let total = sqlx::query_scalar("SELECT count(*) FROM feedback_sources WHERE workspace_id = $1")
        .bind(scope.workspace_id)
        .fetch_one(pool)
        .await?;
    let select = format!("SELECT {COLUMNS} FROM feedback_sources WHERE workspace_id = $1 ORDER BY id DESC LIMIT $2 OFFSET $3");
    let rows = sqlx::query_as(sqlx::AssertSqlSafe(select))
        .bind(scope.workspace_id)
        .bind(request.limit)
        .bind(request.offset())
        .fetch_all(pool)
        .await?;
    Ok(Page::new(request, total, rows))
}

/// The source `id`.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Forbidden`]: another workspace's.
pub async fn find(pool: &PgPool, scope: Scope, id: Uuid) -> Result<FeedbackSource> {
    let select = format!("SELECT {COLUMNS} FROM feedback_sources WHERE id = $1");
    let found: Option<FeedbackSource> = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(id).fetch_optional(pool).await?;
    let found = found.ok_or_else(|| Error::not_found("feedback source", id))?;
    scope.may_read("feedback source", id, found.workspace_id)?;
    Ok(found)
}

/// Takes a source away, with what it has told and nobody has read; what was read stays.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Forbidden`]: another workspace's.
pub async fn delete(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<()> {
    let owner: Option<Uuid> = sqlx::query_scalar("SELECT workspace_id FROM feedback_sources WHERE id = $1 FOR UPDATE")
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?;
    scope.may_change("feedback source", id, owner.ok_or_else(|| Error::not_found("feedback source", id))?)?;
    sqlx::query("DELETE FROM feedback_sources WHERE id = $1").bind(id).execute(connection).await?;
    Ok(())
}

/// What a post is checked against.
pub struct Known {
    /// The source.
    pub id: Uuid,
    /// What it signs with; empty of SES.
    pub secret: Vec<u8>,
    /// Of SES: the topic.
    pub topic: Option<String>,
}

/// The source that a post names, if it is of this kind.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Internal`]: its secret does not open.
pub async fn known(pool: &PgPool, vault: &Vault, kind: Kind, id: Uuid) -> Result<Known> {
    let found: Option<(Option<Vec<u8>>, Option<String>)> =
        sqlx::query_as("SELECT secret_sealed, topic FROM feedback_sources WHERE id = $1 AND kind = $2")
            .bind(id)
            .bind(kind.name())
            .fetch_optional(pool)
            .await?;
    let (sealed, topic) = found.ok_or_else(|| Error::not_found("feedback source", id))?;
    let secret = sealed.map(|sealed| vault.open(&sealed, id.as_bytes())).transpose().map_err(Error::internal)?;
    Ok(Known { id, secret: secret.unwrap_or_default(), topic })
}

/// Notes that a post was refused, once a minute at most: anybody can send one.
///
/// # Errors
/// The database failed.
pub async fn refused(pool: &PgPool, id: Uuid) -> Result<()> {
    sqlx::query(
        "UPDATE feedback_sources SET refused_at = now(), updated_at = now()
         WHERE id = $1 AND (refused_at IS NULL OR refused_at < now() - interval '1 minute')",
    )
    .bind(id)
    .execute(pool)
    .await?;
    Ok(())
}
