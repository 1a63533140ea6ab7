//! How a campaign goes from state to state. Each is one transaction that moves the row and enqueues what is slow, so that it takes
//! as long for a million recipients as for one.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    campaign::{self, Campaign, State},
    draft,
    payload::{CancelRecipients, LaunchCampaign, RetryRecipients, SendTest},
    recipients, sender_domain,
    template::{Prepared, Recipient},
};
use crate::{
    accounts::scope::Scope,
    address::Address,
    error::{Error, FieldError, Result},
    queue::{
        job::{Enqueue, enqueue},
        payload::Job,
    },
};

/// Within its flow, what steers a campaign goes before what sends it.
const PRIORITY: i16 = 10;
/// Addresses of one test.
const MOST_TEST_ADDRESSES: usize = 5;

/// What a transition did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The campaign.
    pub id: Uuid,
    /// Where it stands now.
    pub state: State,
    /// The job that does the rest, if there is a rest.
    pub job_id: Option<Uuid>,
}

/// Sends a draft, or schedules one whose date is still to come; sends a scheduled one at once. Refuses what could reach nobody.
///
/// # Errors
/// [`Error::Conflict`]: it has been sent, there is no route, or mail cannot come from its sender's domain. [`Error::Invalid`]: no recipients, or it does not render for one of them.
/// [`Error::NotFound`], [`Error::Forbidden`].
pub async fn send(connection: &mut PgConnection, scope: Scope, id: Uuid, now: DateTime<Utc>) -> Result<Moved> {
    let campaign = campaign::hold(connection, scope, id).await?;
    campaign.require(&[State::Draft, State::Scheduled], "only a draft or a scheduled campaign can be sent")?;
    check_ready(connection, &campaign).await?;
    if campaign.state == State::Draft && campaign.scheduled_at.is_some_and(|at| at > now) {
        shift(connection, id, State::Draft, State::Scheduled).await?;
        return Ok(Moved { id, state: State::Scheduled, job_id: None });
    }
    let job_id = launch(connection, &campaign).await?;
    Ok(Moved { id, state: State::Sending, job_id: Some(job_id) })
}

/// Launches the scheduled campaigns whose time has come; several may try at once. Answers which. One whose domain mail cannot come from is
/// a draft again, which says why.
///
/// # Errors
/// The database failed.
pub async fn launch_due(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<Uuid>> {
    let due: Vec<Campaign> = sqlx::query_as(
        "SELECT * FROM campaigns WHERE state = 'scheduled' AND scheduled_at <= $1 AND deleted_at IS NULL
         ORDER BY scheduled_at LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED",
    )
    .bind(now)
    .fetch_all(&mut *connection)
    .await?;
    let mut launched = Vec::with_capacity(due.len());
    for campaign in due {
        match sender_domain::require(connection, &campaign).await {
            Ok(()) => {
                launch(connection, &campaign).await?;
                launched.push(campaign.id);
            }
            Err(Error::Conflict(reason)) => {
                tracing::warn!(campaign.id = %campaign.id, reason, "a scheduled campaign cannot be launched and is a draft again");
                sqlx::query("UPDATE campaigns SET state = 'draft', pause_reason = $2, updated_at = now() WHERE id = $1")
                    .bind(campaign.id)
                    .bind(format!("it was not sent at its time: {reason}"))
                    .execute(&mut *connection)
                    .await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(launched)
}

async fn launch(connection: &mut PgConnection, campaign: &Campaign) -> Result<Uuid> {
    shift(connection, campaign.id, campaign.state, State::Sending).await?;
    // The database's clock: joined_at, which decides who belongs to the audience, is its time too.
    sqlx::query("UPDATE campaigns SET launched_at = now() WHERE id = $1").bind(campaign.id).execute(&mut *connection).await?;
    steer(connection, campaign, &LaunchCampaign { campaign_id: campaign.id }).await
}

/// Holds a campaign back.
///
/// # Errors
/// [`Error::Conflict`]: it is not sending. [`Error::NotFound`], [`Error::Forbidden`].
pub async fn pause(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<Moved> {
    let campaign = campaign::hold(connection, scope, id).await?;
    campaign.require(&[State::Sending], "only one that is sending can be paused")?;
    shift(connection, id, State::Sending, State::Paused).await?;
    Ok(Moved { id, state: State::Paused, job_id: None })
}

/// Lets a paused campaign go on.
///
/// # Errors
/// [`Error::Conflict`]: it is not paused. [`Error::NotFound`], [`Error::Forbidden`].
pub async fn resume(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<Moved> {
    let campaign = campaign::hold(connection, scope, id).await?;
    campaign.require(&[State::Paused], "only a paused one can be resumed")?;
    sender_domain::require(connection, &campaign).await?;
    shift(connection, id, State::Paused, State::Sending).await?;
    Ok(Moved { id, state: State::Sending, job_id: None })
}

/// Ends a campaign early. Who has been written to stays so.
///
/// # Errors
/// [`Error::Conflict`]: it is a draft, or over. [`Error::NotFound`], [`Error::Forbidden`].
pub async fn cancel(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<Moved> {
    let campaign = campaign::hold(connection, scope, id).await?;
    campaign.require(&[State::Scheduled, State::Sending, State::Paused], "there is nothing to cancel")?;
    shift(connection, id, campaign.state, State::Cancelled).await?;
    sqlx::query("UPDATE campaigns SET finished_at = now() WHERE id = $1").bind(id).execute(&mut *connection).await?;
    let job_id = steer(connection, &campaign, &CancelRecipients { campaign_id: id }).await?;
    Ok(Moved { id, state: State::Cancelled, job_id: Some(job_id) })
}

/// Tries the failed recipients of a finished campaign once more.
///
/// # Errors
/// [`Error::Conflict`]: it is not finished, or nobody failed. [`Error::NotFound`], [`Error::Forbidden`].
pub async fn retry_failed(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<Moved> {
    reopen(connection, scope, id, "failed").await
}

/// Sends once more to those of a finished campaign of whom nobody knows whether they have got it. They may get it twice.
///
/// # Errors
/// [`Error::Conflict`]: it is not finished, or nobody is in doubt. [`Error::NotFound`], [`Error::Forbidden`].
pub async fn resend_unknown(connection: &mut PgConnection, scope: Scope, id: Uuid) -> Result<Moved> {
    reopen(connection, scope, id, "unknown").await
}

async fn reopen(connection: &mut PgConnection, scope: Scope, id: Uuid, state: &str) -> Result<Moved> {
    let campaign = campaign::hold(connection, scope, id).await?;
    campaign.require(&[State::Finished, State::FinishedWithFailures], "only a finished one can be taken up again")?;
    let any: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM deliveries WHERE campaign_id = $1 AND state = $2)")
        .bind(id)
        .bind(state)
        .fetch_one(&mut *connection)
        .await?;
    if !any {
        return Err(Error::Conflict(format!("campaign {id} has no recipients that are {state}")));
    }
    sender_domain::require(connection, &campaign).await?;
    shift(connection, id, campaign.state, State::Sending).await?;
    sqlx::query("UPDATE campaigns SET finished_at = NULL WHERE id = $1").bind(id).execute(&mut *connection).await?;
    let job_id = steer(connection, &campaign, &RetryRecipients { campaign_id: id, state: state.to_owned() }).await?;
    Ok(Moved { id, state: State::Sending, job_id: Some(job_id) })
}

/// Sends a campaign as it is to a few addresses, for its author's eyes. Nothing of it changes.
///
/// # Errors
/// [`Error::Invalid`]: no addresses, too many, or one that is none. [`Error::NotFound`], [`Error::Forbidden`].
pub async fn test(connection: &mut PgConnection, scope: Scope, id: Uuid, to: &[String]) -> Result<Moved> {
    let campaign = campaign::hold(connection, scope, id).await?;
    let mut errors = Vec::new();
    if !(1..=MOST_TEST_ADDRESSES).contains(&to.len()) {
        errors.push(FieldError::new("to", format!("must be 1 to {MOST_TEST_ADDRESSES} addresses, not {}", to.len())));
    }
    let mut addresses = Vec::new();
    for (index, text) in to.iter().enumerate().take(MOST_TEST_ADDRESSES) {
        match Address::parse_recipient(text) {
            Ok(address) => addresses.push(address.as_str().to_owned()),
            Err(reason) => errors.push(FieldError::new(format!("to[{index}]"), format!("{text:?} {reason}"))),
        }
    }
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    check_ways(connection, &campaign).await?;
    sender_domain::require(connection, &campaign).await?;
    let options = Enqueue { workspace_id: Some(campaign.workspace_id), flow: format!("test {id}"), ..Enqueue::default() };
    let job_id = enqueue(connection, &SendTest { campaign_id: id, to: addresses }, options).await?;
    Ok(Moved { id, state: campaign.state, job_id: Some(job_id) })
}

/// The conditional move: its row count is the answer.
async fn shift(connection: &mut PgConnection, id: Uuid, from: State, to: State) -> Result<()> {
    let moved =
        sqlx::query("UPDATE campaigns SET state = $3, pause_reason = NULL, updated_at = now() WHERE id = $1 AND state = $2")
            .bind(id)
            .bind(from.name())
            .bind(to.name())
            .execute(connection)
            .await?
            .rows_affected();
    if moved == 1 { Ok(()) } else { Err(Error::Conflict(format!("campaign {id} is no longer {from}"))) }
}

async fn steer<P: Job>(connection: &mut PgConnection, campaign: &Campaign, payload: &P) -> Result<Uuid> {
    let options = Enqueue {
        workspace_id: Some(campaign.workspace_id),
        flow: format!("campaign {}", campaign.id),
        campaign_id: Some(campaign.id),
        priority: PRIORITY,
        unique_key: Some(campaign.id.to_string()),
        ..Enqueue::default()
    };
    enqueue(connection, payload, options).await
}

async fn check_ready(connection: &mut PgConnection, campaign: &Campaign) -> Result<()> {
    let content = campaign.content();
    let mut errors = Vec::new();
    if let Err(reason) = Address::parse(&content.from_email) {
        errors.push(FieldError::new("from.email", format!("{:?} {reason}", content.from_email)));
    }
    match recipients::sample(connection, &campaign.list_ids).await? {
        None => errors.push(FieldError::new("list_ids", "nobody on these lists is subscribed")),
        Some(contact) => match Prepared::new(&content) {
            Err(broken) => errors.extend(broken),
            Ok(prepared) => {
                let recipient = Recipient { email: &contact.email, name: &contact.name, attributes: &contact.attributes };
                if let Err(reason) = prepared.render(&recipient, "https://example.com/u/sample") {
                    let (field, reason) = reason.split_once(": ").unwrap_or(("html", &reason));
                    errors.push(FieldError::new(field, format!("does not render for contact {}: {reason}", contact.id)));
                }
            }
        },
    }
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    check_ways(connection, campaign).await?;
    sender_domain::require(connection, campaign).await
}

/// Whether there is a way out of the house.
async fn check_ways(connection: &mut PgConnection, campaign: &Campaign) -> Result<()> {
    if let Some(route_id) = campaign.route_id {
        return match draft::check_route(connection, route_id).await? {
            Some(error) => Err(Error::Invalid(vec![error])),
            None => Ok(()),
        };
    }
    let any: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM routes WHERE disabled_at IS NULL AND weight > 0)")
        .fetch_one(connection)
        .await?;
    if any { Ok(()) } else { Err(Error::Conflict("there is no route to send by; an admin makes one with POST /routes".to_owned())) }
}
