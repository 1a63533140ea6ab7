//! The contacts of a part on their way into the tables: who is new is copied in, who is there is updated, all of them join the list.

use std::collections::HashSet;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{batch::Staged, copy::Rows};
use crate::error::{Error, Result};

/// How contacts come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// All are copied in: fastest, and refused if one of them is there.
    Fresh,
    /// Who is not there yet is copied in: refused if another transaction makes one of them meanwhile. Looking for them is a quarter of
    /// the work.
    Copy,
    /// Each is made or updated, whoever comes first.
    Merge,
}

impl Way {
    /// The way that takes what this one refuses.
    #[must_use]
    pub fn surer(self) -> Option<Self> {
        match self {
            Self::Fresh => Some(Self::Copy),
            Self::Copy => Some(Self::Merge),
            Self::Merge => None,
        }
    }
}

/// Whether a failure says that a contact is there already, or that another transaction is making it: [`Way::surer`] then does it.
#[must_use]
pub fn came_second(error: &Error) -> bool {
    match error {
        Error::Database(error) => {
            // 40P01, deadlock detected, and 55P03, a lock was waited for too long: an import that merges and one that copies may wait for
            // each other.
            Error::constraint(error) == Some("contacts_email_key")
                || error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "40P01" || code == "55P03")
        }
        _ => false,
    }
}

/// Makes or updates the contacts and puts them on the list; answers how many are new. Who is unsubscribed or blocked stays so.
///
/// # Errors
/// [`came_second`] says whether to try the other way. The database failed.
pub async fn store(connection: &mut PgConnection, workspace_id: Uuid, list_id: Uuid, contacts: &[Staged], way: Way) -> Result<i64> {
    // The session keeps the plans of these statements, perhaps from when there were ten contacts.
    // And what the triggers see of a part is larger than the usual 4 MB: it would go through a file.
    sqlx::query("SELECT set_config('enable_seqscan', 'off', true), set_config('work_mem', '32MB', true)")
        .execute(&mut *connection)
        .await?;
    let (known, fresh): (Vec<_>, Vec<_>) = match way {
        Way::Fresh => (Vec::new(), contacts.iter().collect()),
        Way::Copy => {
            let there = there(connection, workspace_id, contacts).await?;
            contacts.iter().partition(|contact| there.contains(contact.email.as_str()))
        }
        Way::Merge => (contacts.iter().collect(), Vec::new()),
    };
    let mut created = i64::try_from(fresh.len()).map_err(Error::internal)?;
    if !fresh.is_empty() {
        copy(connection, workspace_id, list_id, &fresh).await?;
    }
    if !known.is_empty() {
        created += merge(connection, workspace_id, list_id, &known).await?;
    }
    Ok(created)
}

/// Which of the addresses the workspace has.
async fn there(connection: &mut PgConnection, workspace_id: Uuid, contacts: &[Staged]) -> Result<HashSet<String>> {
    let emails: Vec<&str> = contacts.iter().map(|contact| contact.email.as_str()).collect();
    let there: Vec<String> = sqlx::query_scalar(
        "SELECT given.email FROM unnest($2::text[]) AS given (email)
         JOIN LATERAL (SELECT FROM contacts WHERE workspace_id = $1 AND email = given.email OFFSET 0) there ON true",
    )
    .bind(workspace_id)
    .bind(emails)
    .fetch_all(connection)
    .await?;
    Ok(there.into_iter().collect())
}

async fn copy(connection: &mut PgConnection, workspace_id: Uuid, list_id: Uuid, contacts: &[&Staged]) -> Result<()> {
    let statement = "COPY contacts (id, workspace_id, email, name, attributes) FROM STDIN (FORMAT binary)";
    let mut rows = Rows::begin(connection, statement, 5).await?;
    for contact in contacts {
        rows.row().uuid(contact.id).uuid(workspace_id).text(&contact.email).text(&contact.name).jsonb(&contact.attributes);
        rows.send().await?;
    }
    rows.finish().await?;

    let mut rows = Rows::begin(connection, "COPY list_members (list_id, contact_id) FROM STDIN (FORMAT binary)", 2).await?;
    for contact in contacts {
        rows.row().uuid(list_id).uuid(contact.id);
        rows.send().await?;
    }
    rows.finish().await?;
    Ok(())
}

/// One ordered upsert, then the members. A row that says nothing new leaves the contact as it is.
async fn merge(connection: &mut PgConnection, workspace_id: Uuid, list_id: Uuid, contacts: &[&Staged]) -> Result<i64> {
    let emails: Vec<&str> = contacts.iter().map(|contact| contact.email.as_str()).collect();
    let created = sqlx::query_scalar(
        "WITH staged AS (
             SELECT * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY AS row (id, email, name, attributes, place)
         ), stored AS (
             INSERT INTO contacts AS contact (id, workspace_id, email, name, attributes)
             SELECT id, $1, email, name, attributes::jsonb FROM staged ORDER BY place
             ON CONFLICT (workspace_id, email) DO UPDATE
             SET name = CASE WHEN excluded.name = '' THEN contact.name ELSE excluded.name END,
                 -- Columns that change their names from file to file must not pile up without end.
                 attributes = CASE WHEN octet_length((contact.attributes || excluded.attributes)::text) <= 16384
                     THEN contact.attributes || excluded.attributes ELSE excluded.attributes END,
                 updated_at = now()
             WHERE (excluded.name <> '' AND excluded.name <> contact.name) OR contact.attributes || excluded.attributes <> contact.attributes
             RETURNING contact.id
         )
         SELECT count(*) FROM stored JOIN staged USING (id)",
    )
    .bind(workspace_id)
    .bind(contacts.iter().map(|contact| contact.id).collect::<Vec<_>>())
    .bind(&emails)
    .bind(contacts.iter().map(|contact| contact.name.as_str()).collect::<Vec<_>>())
    .bind(contacts.iter().map(|contact| contact.attributes.as_str()).collect::<Vec<_>>())
    .fetch_one(&mut *connection)
    .await?;
    // Contacts that stayed as they are are locked by the upsert all the same: all of them are there until the end.
    sqlx::query(
        "INSERT INTO list_members (list_id, contact_id)
         SELECT $2, there.id FROM unnest($3::text[]) AS given (email)
         JOIN LATERAL (SELECT id FROM contacts WHERE workspace_id = $1 AND email = given.email OFFSET 0) there ON true
         ON CONFLICT DO NOTHING",
    )
    .bind(workspace_id)
    .bind(list_id)
    .bind(&emails)
    .execute(connection)
    .await?;
    Ok(created)
}
