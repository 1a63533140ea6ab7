//! The noun: a template, what many messages say.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use super::render::Source;
use crate::{
    accounts::scope::Scope,
    error::{Error, FieldError, Result},
    idempotency::reserved,
    page::{Page, PageRequest},
    version::Expected,
};

/// A row of `templates`.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0019_messages.sql")]
pub struct Template {
    pub id: Uuid,
    pub workspace_id: Uuid,
    pub name: String,
    pub subject: String,
    pub html: Option<String>,
    pub text: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

fn check(name: &str, source: &Source) -> Result<()> {
    let mut errors = source.try_out().err().unwrap_or_default();
    let length = name.trim().chars().count();
    if !(1..=200).contains(&length) || name.chars().any(char::is_control) {
        errors.push(FieldError::new("name", format!("must have 1 to 200 characters and no control characters, not {:?}", name)));
    }
    if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
}

/// Makes a template in the caller's workspace.
///
/// # Errors
/// [`Error::Invalid`] names every wrong field. [`Error::Conflict`]: the name is taken.
pub async fn create(connection: &mut PgConnection, scope: Scope, name: &str, source: Source) -> Result<Template> {
    check(name, &source)?;
    sqlx::query_as(
        "INSERT INTO templates AS t (id, workspace_id, name, subject, html, text) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (id) DO UPDATE SET id = t.id RETURNING *",
    )
    .bind(reserved::id())
    .bind(scope.workspace_id)
    .bind(name.trim())
    .bind(source.subject)
    .bind(source.html)
    .bind(source.text)
    .fetch_one(connection)
    .await
    .map_err(|error| taken(error, name))
}

/// Replaces what a template says.
///
/// # Errors
/// [`Error::Invalid`], [`Error::Conflict`]: the name is taken. [`Error::NotFound`], [`Error::Forbidden`]; [`Error::Outdated`]: it is not
/// what was expected.
pub async fn replace(
    connection: &mut PgConnection,
    scope: Scope,
    id: Uuid,
    expected: &Expected,
    name: &str,
    source: Source,
) -> Result<Template> {
    hold(connection, scope, id, expected).await?;
    check(name, &source)?;
    sqlx::query_as(
        "UPDATE templates SET name = $2, subject = $3, html = $4, text = $5, updated_at = now() WHERE id = $1 RETURNING *",
    )
    .bind(id)
    .bind(name.trim())
    .bind(source.subject)
    .bind(source.html)
    .bind(source.text)
    .fetch_one(connection)
    .await
    .map_err(|error| taken(error, name))
}

/// The template `id`, for reading.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Forbidden`]: another workspace's.
pub async fn find(pool: &PgPool, scope: Scope, id: Uuid) -> Result<Template> {
    let template: Option<Template> = sqlx::query_as("SELECT * FROM templates WHERE id = $1").bind(id).fetch_optional(pool).await?;
    let template = template.ok_or_else(|| Error::not_found("template", id))?;
    scope.may_read("template", id, template.workspace_id)?;
    Ok(template)
}

/// What a message of the caller's workspace can say by it.
pub(super) async fn source(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<Source> {
    let template: Option<Template> =
        sqlx::query_as("SELECT * FROM templates WHERE id = $1").bind(id).fetch_optional(connection).await?;
    let template = template.ok_or_else(|| Error::invalid("template_id", format!("template {id} does not exist")))?;
    scope.may_change("template", id, template.workspace_id)?;
    Ok(Source { subject: template.subject, html: template.html, text: template.text })
}

/// The workspace's templates whose name holds `search`, newest first.
///
/// # Errors
/// The database failed.
pub async fn page(pool: &PgPool, scope: Scope, search: &str, request: PageRequest) -> Result<Page<Template>> {
    let total =
        sqlx::query_scalar("SELECT count(*) FROM templates WHERE workspace_id = $1 AND position(lower($2) IN lower(name)) > 0")
            .bind(scope.workspace_id)
            .bind(search)
            .fetch_one(pool)
            .await?;
    let rows = sqlx::query_as(
        "SELECT * FROM templates WHERE workspace_id = $1 AND position(lower($2) IN lower(name)) > 0
         ORDER BY id DESC LIMIT $3 OFFSET $4",
    )
    .bind(scope.workspace_id)
    .bind(search)
    .bind(request.limit)
    .bind(request.offset())
    .fetch_all(pool)
    .await?;
    Ok(Page::new(request, total, rows))
}

/// Removes a template. Messages that were made from it keep what they say.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Forbidden`]: another workspace's; [`Error::Outdated`]: it is not what was expected.
pub async fn delete(connection: &mut PgConnection, scope: Scope, id: Uuid, expected: &Expected) -> Result<()> {
    hold(connection, scope, id, expected).await?;
    sqlx::query("DELETE FROM templates WHERE id = $1").bind(id).execute(connection).await?;
    Ok(())
}

async fn hold(connection: &mut PgConnection, scope: Scope, id: Uuid, expected: &Expected) -> Result<()> {
    let row: Option<(Uuid, DateTime<Utc>)> =
        sqlx::query_as("SELECT workspace_id, updated_at FROM templates WHERE id = $1 FOR UPDATE")
            .bind(id)
            .fetch_optional(connection)
            .await?;
    let (owner, updated_at) = row.ok_or_else(|| Error::not_found("template", id))?;
    scope.may_change("template", id, owner)?;
    expected.check("template", id, updated_at)
}

fn taken(error: sqlx::Error, name: &str) -> Error {
    match Error::constraint(&error) {
        Some("templates_name_key") => Error::Conflict(format!("a template with the name {:?} exists already", name.trim())),
        _ => error.into(),
    }
}
