//! A campaign as one contact would read it.

use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    campaign,
    template::{Prepared, Recipient, Rendered},
};
use crate::{
    accounts::scope::Scope,
    contacts::contact,
    error::{Error, Result},
};

/// Renders the campaign for a contact of its workspace. `unsubscribe_url` should be one that does nothing.
///
/// # Errors
/// [`Error::Invalid`]: it does not render, or the contact is of another workspace. [`Error::NotFound`], [`Error::Forbidden`].
pub async fn of(pool: &PgPool, scope: Scope, id: Uuid, contact_id: Uuid, unsubscribe_url: &str) -> Result<Rendered> {
    let campaign = campaign::find(pool, scope, id).await?;
    let contact = contact::find(pool, scope, contact_id).await?;
    if contact.workspace_id != campaign.workspace_id {
        return Err(Error::invalid("contact_id", format!("contact {contact_id} belongs to another workspace than the campaign")));
    }
    let prepared = Prepared::new(&campaign.content()).map_err(Error::Invalid)?;
    let attributes = Value::Object(contact.attributes.0);
    let recipient = Recipient { email: &contact.email, name: &contact.name, attributes: &attributes };
    prepared.render(&recipient, unsubscribe_url).map_err(|reason| {
        let (field, reason) = reason.split_once(": ").unwrap_or(("html", &reason));
        Error::invalid(field, reason)
    })
}
