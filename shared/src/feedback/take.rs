//! Believing a fact. What it changes is changed in the caller's transaction, and once: the event's key is the fence.
//!
//! A delivery goes accepted → bounced, and gets the mark of a complaint; never back. A fact about one that is in doubt, or on the wire, or
//! waiting for another attempt, settles it: it must have been handed over. What failed, was suppressed or cancelled stays so. The same holds
//! for transactional messages, see [`crate::messages::aftermath`].

use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::{
    event,
    fact::{About, Bounce, Fact, What, clean},
    references::Reference,
    softly,
};
use crate::{
    address::Address,
    campaigns::unsubscribe,
    error::Result,
    messages::aftermath,
    suppressions::{
        policy,
        suppression::{self, Reason},
    },
};

/// What became of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is true now.
    New,
    /// It was known.
    Again,
    /// It is about nothing that was sent here.
    Unknown,
}

#[derive(FromRow)]
struct Sent {
    workspace_id: Uuid,
    recipient: String,
    from_email: String,
}

/// Takes a fact, inside a transaction that takes no other: two that take several in different orders would wait for each other.
///
/// # Errors
/// The database failed; the same call again is safe.
pub async fn take(connection: &mut PgConnection, fact: &Fact) -> Result<Taken> {
    let Some(Sent { workspace_id, recipient, .. }) = sent(connection, fact.about).await? else { return Ok(Taken::Unknown) };
    if !event::remember(connection, workspace_id, &recipient, fact).await? {
        return Ok(Taken::Again);
    }
    match &fact.what {
        What::Delay(_) => {}
        What::Bounce(bounce) => {
            match fact.about {
                About::Delivery { campaign_id, contact_id } => bounced(connection, campaign_id, contact_id, bounce).await?,
                About::Message { message_id } => {
                    let answer = aftermath::Answer {
                        smtp_code: bounce.smtp_code,
                        enhanced_code: bounce.status.as_deref().map(clean),
                        response: bounce.diagnostic.as_deref().map(clean),
                        reason: Some(clean(&bounce.class)),
                    };
                    aftermath::bounced(connection, message_id, &answer).await?;
                }
            }
            let policy = policy::of(connection, workspace_id).await?.policy;
            softly::bounced(connection, workspace_id, &recipient, bounce.hard, &policy).await?;
        }
        What::Complaint(feedback_type) => {
            match fact.about {
                About::Delivery { campaign_id, contact_id } => {
                    complained(connection, campaign_id, contact_id).await?;
                    unsubscribe::contact(connection, contact_id).await?;
                }
                About::Message { message_id } => {
                    aftermath::complained(connection, message_id, &clean(feedback_type)).await?;
                    unsubscribe::address(connection, workspace_id, &recipient).await?;
                }
            }
            suppression::suppress(connection, workspace_id, &recipient, Reason::Complaint, None).await?;
        }
        What::Unsubscribe => match fact.about {
            About::Delivery { campaign_id, contact_id } => {
                unsubscribe::apply(connection, campaign_id, contact_id).await?;
            }
            About::Message { .. } => {
                unsubscribe::address(connection, workspace_id, &recipient).await?;
                suppression::suppress(connection, workspace_id, &recipient, Reason::Unsubscribe, None).await?;
            }
        },
    }
    Ok(Taken::New)
}

/// The mail, if it was handed to a server, or may have been. Those of deleted campaigns too: they are out there.
async fn sent(connection: &mut PgConnection, about: About) -> Result<Option<Sent>> {
    let query = match about {
        About::Delivery { campaign_id, contact_id } => sqlx::query_as(
            "SELECT c.workspace_id, d.recipient, c.from_email FROM deliveries d JOIN campaigns c ON c.id = d.campaign_id
             WHERE d.campaign_id = $1 AND d.contact_id = $2 AND d.attempts > 0",
        )
        .bind(campaign_id)
        .bind(contact_id),
        About::Message { message_id } => {
            sqlx::query_as("SELECT workspace_id, recipient, from_email FROM messages WHERE id = $1 AND attempts > 0")
                .bind(message_id)
        }
    };
    Ok(query.fetch_optional(connection).await?)
}

/// A campaign that was finished with this recipient in doubt is opened again, to be counted anew.
const REOPENED: &str = "UPDATE campaigns SET state = 'sending', finished_at = NULL, updated_at = now()
    WHERE id = $1 AND state IN ('finished', 'finished_with_failures')";

async fn bounced(connection: &mut PgConnection, campaign_id: Uuid, contact_id: Uuid, bounce: &Bounce) -> Result<()> {
    let was: Option<String> = sqlx::query_scalar(
        "WITH was AS MATERIALIZED (
             SELECT state FROM deliveries WHERE campaign_id = $1 AND contact_id = $2 AND complained_at IS NULL
               AND state IN ('accepted', 'unknown', 'sending', 'deferred') FOR NO KEY UPDATE)
         UPDATE deliveries d SET state = 'bounced', smtp_code = $3, enhanced_code = $4, response = $5, reason = $6,
                                 next_attempt_at = NULL, updated_at = now()
         FROM was WHERE d.campaign_id = $1 AND d.contact_id = $2 RETURNING was.state",
    )
    .bind(campaign_id)
    .bind(contact_id)
    .bind(bounce.smtp_code)
    .bind(bounce.status.as_deref().map(clean))
    .bind(bounce.diagnostic.as_deref().map(clean))
    .bind(clean(&bounce.class))
    .fetch_optional(&mut *connection)
    .await?;
    reopen(connection, campaign_id, was.as_deref()).await
}

async fn complained(connection: &mut PgConnection, campaign_id: Uuid, contact_id: Uuid) -> Result<()> {
    let was: Option<String> = sqlx::query_scalar(
        "WITH was AS MATERIALIZED (
             SELECT state FROM deliveries WHERE campaign_id = $1 AND contact_id = $2 AND complained_at IS NULL FOR NO KEY UPDATE)
         UPDATE deliveries d SET complained_at = now(),
             state = CASE WHEN was.state IN ('unknown', 'sending', 'deferred') THEN 'accepted' ELSE was.state END,
             next_attempt_at = NULL, updated_at = now()
         FROM was WHERE d.campaign_id = $1 AND d.contact_id = $2 RETURNING was.state",
    )
    .bind(campaign_id)
    .bind(contact_id)
    .fetch_optional(&mut *connection)
    .await?;
    if was.is_none() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO campaign_complaints AS c (campaign_id, complained) VALUES ($1, 1)
         ON CONFLICT (campaign_id) DO UPDATE SET complained = c.complained + 1, updated_at = now()",
    )
    .bind(campaign_id)
    .execute(&mut *connection)
    .await?;
    reopen(connection, campaign_id, was.as_deref()).await
}

async fn reopen(connection: &mut PgConnection, campaign_id: Uuid, was: Option<&str>) -> Result<()> {
    if was == Some("unknown") {
        sqlx::query(REOPENED).bind(campaign_id).execute(connection).await?;
    }
    Ok(())
}

/// The mail that one of these names, if it was sent here, and within this workspace where only its own may be told of.
///
/// # Errors
/// The database failed.
pub async fn believed(connection: &mut PgConnection, references: &[Reference], within: Option<Uuid>) -> Result<Option<About>> {
    for reference in references {
        let (about, claimed) = match reference {
            Reference::Signed(about) => (*about, None),
            Reference::MessageId { about, domain } => (*about, Some(domain)),
        };
        let Some(Sent { workspace_id, from_email, .. }) = sent(connection, about).await? else { continue };
        let is_senders = claimed.is_none_or(|claimed| Address::parse(&from_email).is_ok_and(|from| from.domain() == claimed));
        if is_senders && within.is_none_or(|within| within == workspace_id) {
            return Ok(Some(about));
        }
    }
    Ok(None)
}
