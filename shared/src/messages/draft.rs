//! What a request says, and the rules for it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    attachment::{self, Attachment, Given},
    fields,
    render::{Content, Source},
    template,
};
use crate::{
    accounts::scope::Scope,
    address::Address,
    error::{Error, FieldError, Result},
};

/// Tags of one message.
const MOST_TAGS: usize = 10;
/// Octets of the metadata as JSON.
const LONGEST_METADATA: usize = 16 * 1024;

/// Somebody with an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mailbox {
    /// May be empty.
    pub name: String,
    /// As it was written.
    pub email: String,
}

/// A message as it is asked for.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Its domain must be one of the workspace's sending domains.
    pub from: Mailbox,
    /// The one recipient.
    pub to: Mailbox,
    /// Where answers go; absent: to the sender.
    pub reply_to: Option<Mailbox>,
    /// What it says; absent: what `content` says.
    pub template_id: Option<Uuid>,
    /// What it says without a template.
    pub content: Option<Source>,
    /// For the template. Without it `content` is taken as it stands.
    pub data: Option<Map<String, Value>>,
    /// Files.
    pub attachments: Vec<Given>,
    /// More header fields.
    pub headers: BTreeMap<String, String>,
    /// For finding it again.
    pub tags: Vec<String>,
    /// Whatever the sender wants to find with it.
    pub metadata: Map<String, Value>,
}

/// A message that is good.
pub(super) struct Checked {
    pub from: (String, Address),
    pub to: (String, Address),
    pub reply_to: Option<(String, Address)>,
    pub template_id: Option<Uuid>,
    pub content: Content,
    pub attachments: Vec<Attachment>,
    pub headers: Vec<(String, String)>,
    pub tags: Vec<String>,
    pub metadata: Map<String, Value>,
}

impl Draft {
    /// Checks every field, and renders.
    ///
    /// # Errors
    /// [`Error::Invalid`] names every wrong field. [`Error::TooLarge`]: the attachments. [`Error::Forbidden`]: the template belongs to another
    /// workspace.
    pub(super) async fn check(self, connection: &mut PgConnection, scope: Scope) -> Result<Checked> {
        let mut errors = Vec::new();
        let from = mailbox("from", self.from, Address::parse, &mut errors);
        let to = mailbox("to", self.to, Address::parse_recipient, &mut errors);
        let reply_to = self.reply_to.and_then(|reply_to| mailbox("reply_to", reply_to, Address::parse, &mut errors));
        let attachments = attachment::checked(self.attachments, &mut errors)?;
        let headers = fields::checked(&self.headers, &mut errors);
        let tags = checked_tags(self.tags, &mut errors);
        let length = serde_json::to_vec(&self.metadata).map_or(0, |json| json.len());
        if length > LONGEST_METADATA {
            errors.push(FieldError::new("metadata", format!("must be at most {LONGEST_METADATA} bytes of JSON, not {length}")));
        }
        let content = match (self.template_id, self.content) {
            (Some(_), Some(_)) => {
                errors.push(FieldError::new("template_id", "goes without subject, html and text: the template has them"));
                None
            }
            (None, None) => {
                errors.push(FieldError::new("subject", "is required, with html or text or both, unless there is a template_id"));
                None
            }
            (Some(id), None) => {
                let source = template::source(connection, scope, id).await?;
                source.render(&self.data.unwrap_or_default()).map_err(|more| errors.extend(more)).ok()
            }
            (None, Some(source)) => match (source.check(), self.data) {
                (Err(more), _) => {
                    errors.extend(more);
                    None
                }
                (Ok(()), None) => Some(source.literal()),
                (Ok(()), Some(data)) => source.render(&data).map_err(|more| errors.extend(more)).ok(),
            },
        };
        match (from, to, content) {
            (Some(from), Some(to), Some(content)) if errors.is_empty() => Ok(Checked {
                from,
                to,
                reply_to,
                template_id: self.template_id,
                content,
                attachments,
                headers,
                tags,
                metadata: self.metadata,
            }),
            _ => Err(Error::Invalid(errors)),
        }
    }
}

fn mailbox(
    field: &str,
    given: Mailbox,
    parse: impl Fn(&str) -> Result<Address, String>,
    errors: &mut Vec<FieldError>,
) -> Option<(String, Address)> {
    let length = given.name.chars().count();
    if length > 200 || given.name.chars().any(char::is_control) {
        let message = format!("must be at most 200 characters without control characters, not {}", given.name.escape_debug());
        errors.push(FieldError::new(format!("{field}.name"), message));
    }
    match parse(&given.email) {
        Ok(address) => Some((given.name, address)),
        Err(reason) => {
            errors.push(FieldError::new(format!("{field}.email"), format!("{:?} {reason}", given.email)));
            None
        }
    }
}

fn checked_tags(mut tags: Vec<String>, errors: &mut Vec<FieldError>) -> Vec<String> {
    if tags.len() > MOST_TAGS {
        errors.push(FieldError::new("tags", format!("must be at most {MOST_TAGS}, not {}", tags.len())));
    }
    for (index, tag) in tags.iter().enumerate() {
        if !(1..=100).contains(&tag.chars().count()) || tag.chars().any(char::is_control) {
            let message = format!("must be 1 to 100 characters without control characters, not {}", tag.escape_debug());
            errors.push(FieldError::new(format!("tags[{index}]"), message));
        }
    }
    tags.sort();
    tags.dedup();
    tags
}
