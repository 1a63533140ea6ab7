//! What a person writes: the fields of a campaign, and the rules for them.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::template::{CampaignContent, LARGEST_OUTPUT, Prepared};
use crate::{
    accounts::scope::Scope,
    address::Address,
    error::{Error, FieldError, Result},
};

/// Longest name, subject and sender's name in characters.
const LONGEST_LINE: usize = 200;
/// Lists of one campaign.
const MOST_LISTS: usize = 100;

/// The fields of a campaign as they are written.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Name, subject, sender and bodies.
    pub content: CampaignContent,
    /// To whom.
    pub list_ids: Vec<Uuid>,
    /// By which route; absent: by any.
    pub route_id: Option<Uuid>,
    /// When; absent: when it is sent by hand.
    pub scheduled_at: Option<DateTime<Utc>>,
}

impl Draft {
    /// Checks every field and puts the sender's address and the lists into their stored form. A date is held against `now` where one
    /// is given: the date of a campaign that is merely renamed may have passed.
    ///
    /// # Errors
    /// [`Error::Invalid`] names every wrong field. [`Error::Forbidden`]: a list belongs to another workspace.
    pub async fn check(&mut self, connection: &mut PgConnection, scope: Scope, now: Option<DateTime<Utc>>) -> Result<()> {
        let mut errors = self.check_content();
        if let (Some(at), Some(now)) = (self.scheduled_at, now)
            && at <= now
        {
            errors.push(FieldError::new("scheduled_at", format!("must be in the future, not {}", at.to_rfc3339())));
        }
        self.list_ids.sort();
        self.list_ids.dedup();
        errors.extend(check_lists(connection, scope, &self.list_ids).await?);
        if let Some(route_id) = self.route_id {
            errors.extend(check_route(connection, route_id).await?);
        }
        if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
    }

    fn check_content(&mut self) -> Vec<FieldError> {
        let content = &mut self.content;
        let mut errors = Vec::new();
        check_line(&mut errors, "name", &content.name, 1);
        check_line(&mut errors, "subject", &content.subject, 1);
        check_line(&mut errors, "from.name", &content.from_name, 0);
        match Address::parse(&content.from_email) {
            Ok(address) => content.from_email = address.as_str().to_owned(),
            Err(reason) => errors.push(FieldError::new("from.email", format!("{:?} {reason}", content.from_email))),
        }
        for (field, body) in [("html", Some(&content.html)), ("text", content.text.as_ref())] {
            let Some(body) = body else { continue };
            if field == "html" && body.trim().is_empty() {
                errors.push(FieldError::new(field, "is empty"));
            }
            if body.len() > LARGEST_OUTPUT {
                errors.push(FieldError::new(field, format!("must be at most {LARGEST_OUTPUT} bytes, not {}", body.len())));
                return errors;
            }
        }
        match Prepared::new(content).and_then(|prepared| prepared.try_out()) {
            Ok(()) => {}
            Err(broken) => errors.extend(broken),
        }
        errors
    }
}

fn check_line(errors: &mut Vec<FieldError>, field: &str, value: &str, shortest: usize) {
    let length = value.chars().count();
    if length > LONGEST_LINE || value.trim().chars().count() < shortest {
        errors.push(FieldError::new(field, format!("must be {shortest} to {LONGEST_LINE} characters, not {length}")));
    }
    if value.chars().any(char::is_control) {
        errors.push(FieldError::new(field, format!("holds a control character: {}", value.escape_debug())));
    }
}

async fn check_lists(connection: &mut PgConnection, scope: Scope, list_ids: &[Uuid]) -> Result<Vec<FieldError>> {
    if list_ids.is_empty() || list_ids.len() > MOST_LISTS {
        let message = format!("must name 1 to {MOST_LISTS} lists, not {}", list_ids.len());
        return Ok(vec![FieldError::new("list_ids", message)]);
    }
    let owners: Vec<(Uuid, Uuid)> =
        sqlx::query_as("SELECT id, workspace_id FROM lists WHERE id = ANY($1)").bind(list_ids).fetch_all(connection).await?;
    for (id, owner) in &owners {
        scope.may_change("list", *id, *owner)?;
    }
    let missing = list_ids.iter().filter(|id| !owners.iter().any(|(list, _)| list == *id));
    Ok(missing.map(|id| FieldError::new("list_ids", format!("list {id} does not exist"))).collect())
}

/// Whether mail can go by this route.
pub(super) async fn check_route(connection: &mut PgConnection, route_id: Uuid) -> Result<Option<FieldError>> {
    let disabled: Option<bool> = sqlx::query_scalar("SELECT disabled_at IS NOT NULL FROM routes WHERE id = $1")
        .bind(route_id)
        .fetch_optional(connection)
        .await?;
    Ok(match disabled {
        None => Some(FieldError::new("route_id", format!("route {route_id} does not exist"))),
        Some(true) => Some(FieldError::new("route_id", format!("route {route_id} is disabled"))),
        Some(false) => None,
    })
}
