//! Messages: take one, look what became of it, take it back.

use std::{collections::BTreeMap, fmt};

use axum::{
    extract::State,
    http::{HeaderName, StatusCode, header},
};
use chrono::{DateTime, NaiveDate, Utc};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Map, Value};
use shared::{
    database,
    error::Error,
    messages::{
        attachment::{self, Given, Told},
        draft::{Draft, Mailbox},
        event::{self, Event},
        message::{self, Filter, Message, State as MessageState},
        render::Source,
    },
    page::{Page, PageRequest},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    caller::{Caller, Editor},
    error::ApiResult,
    extract::{Json, Path, Query},
    routes::campaigns::in_years,
    state::AppState,
};

/// `/messages`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(page, create)).routes(routes!(one)).routes(routes!(cancel))
}

/// Somebody with an address.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Mailbox)]
struct MailboxBody {
    /// Without control characters.
    #[serde(default)]
    #[schema(max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", example = "Ann Example")]
    name: String,
    #[schema(format = "idn-email", min_length = 3, max_length = 254, example = "ann@example.com")]
    email: String,
}

/// An address.
#[derive(ToSchema)]
#[schema(as = BareAddress, format = "idn-email", min_length = 3, max_length = 254, example = "ann@example.com")]
#[expect(dead_code, reason = "a shape in the document")]
struct BareAddress(String);

impl MailboxBody {
    fn new(name: String, email: String) -> Self {
        Self { name, email }
    }
}

/// `{"name": …, "email": …}`, or the address alone.
struct Addressed(MailboxBody);

impl From<Addressed> for Mailbox {
    fn from(Addressed(MailboxBody { name, email }): Addressed) -> Self {
        Self { name, email }
    }
}

impl<'de> Deserialize<'de> for Addressed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Addressed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address, or an object with an email and a name")
            }

            fn visit_str<E>(self, email: &str) -> Result<Addressed, E> {
                Ok(Addressed(MailboxBody::new(String::new(), email.to_owned())))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Addressed, A::Error> {
                MailboxBody::deserialize(MapAccessDeserializer::new(map)).map(Addressed)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A mailbox, or the address alone.
#[derive(ToSchema)]
#[schema(as = Addressed)]
#[serde(untagged)]
#[expect(dead_code, reason = "the shape of Addressed in the document")]
enum AddressedShape {
    Mailbox(MailboxBody),
    Address(BareAddress),
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAttachment)]
struct AttachmentBody {
    #[schema(min_length = 1, max_length = 255, example = "receipt.txt")]
    filename: String,
    #[schema(min_length = 3, max_length = 200, example = "text/plain")]
    content_type: String,
    /// Base64. All attachments together: 10 MB.
    #[schema(format = "byte", example = "VGhhbmsgeW91IQo=")]
    content: String,
    /// Shown in the HTML by `cid:` and this name.
    #[schema(min_length = 1, max_length = 200, pattern = "^[A-Za-z0-9._+@-]+$", example = "receipt@shop.example.com")]
    content_id: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewMessage)]
#[schema(example = json!({
    "from": { "name": "The Shop", "email": "orders@shop.example.com" },
    "to": { "name": "Ann Example", "email": "ann@example.com" },
    "subject": "Your order {{ order.number }}",
    "html": "<p>Hello {{ name }}, order {{ order.number }} is on its way.</p>",
    "data": { "name": "Ann", "order": { "number": 66 } },
    "attachments": [{ "filename": "receipt.txt", "content_type": "text/plain", "content": "VGhhbmsgeW91IQo=" }],
    "headers": { "X-Order": "66" },
    "tags": ["receipt"],
    "metadata": { "order_id": 66 },
}))]
struct NewBody {
    /// Its domain is a verified sending domain of the workspace.
    #[schema(value_type = AddressedShape)]
    from: Addressed,
    /// Exactly one recipient: a mail to three people is three messages, each with an id and an outcome of its own.
    #[schema(value_type = AddressedShape)]
    to: Addressed,
    /// Where answers go; absent or null: to the sender.
    #[schema(value_type = Option<AddressedShape>)]
    reply_to: Option<Addressed>,
    /// What it says; then without `subject`, `html` and `text`.
    template_id: Option<Uuid>,
    #[schema(min_length = 1, max_length = 500, example = "Your order {{ order.number }}")]
    subject: Option<String>,
    #[schema(example = "<p>Hello {{ name }}, order {{ order.number }} is on its way.</p>")]
    html: Option<String>,
    /// Absent or null: derived from the HTML.
    #[schema(example = "Hello {{ name }}, order {{ order.number }} is on its way.")]
    text: Option<String>,
    /// Values of the variables. Without it `subject`, `html` and `text` are taken as they stand.
    data: Option<Map<String, Value>>,
    #[serde(default)]
    #[schema(max_items = 50)]
    attachments: Vec<AttachmentBody>,
    /// `X-…` and a few others, such as `In-Reply-To`, `References` and `List-Unsubscribe`.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// For finding it again.
    #[serde(default)]
    #[schema(max_items = 10, example = json!(["receipt"]))]
    tags: Vec<String>,
    /// Whatever is to be found with it.
    #[serde(default)]
    metadata: Map<String, Value>,
}

impl From<NewBody> for Draft {
    fn from(body: NewBody) -> Self {
        let NewBody { from, to, reply_to, template_id, subject, html, text, data, attachments, headers, tags, metadata } = body;
        let said = subject.is_some() || html.is_some() || text.is_some();
        let given =
            |AttachmentBody { filename, content_type, content, content_id }| Given { filename, content_type, content, content_id };
        Self {
            from: from.into(),
            to: to.into(),
            reply_to: reply_to.map(Mailbox::from),
            template_id,
            content: said.then(|| Source { subject: subject.unwrap_or_default(), html, text }),
            data,
            attachments: attachments.into_iter().map(given).collect(),
            headers,
            tags,
            metadata,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = MessageTaken)]
struct TakenBody {
    id: Uuid,
    /// The Message-ID of the mail, the same on every attempt.
    #[schema(example = "<01936f2a7c1e7a3b9c4d5e6f70818293@shop.example.com>")]
    message_id: String,
    state: MessageState,
}

/// A message as a list tells it.
#[derive(Serialize, ToSchema)]
#[schema(as = MessageSummary)]
struct Summary {
    id: Uuid,
    workspace_id: Uuid,
    #[schema(example = "<01936f2a7c1e7a3b9c4d5e6f70818293@shop.example.com>")]
    message_id: String,
    state: MessageState,
    from: MailboxBody,
    to: MailboxBody,
    reply_to: Option<MailboxBody>,
    #[schema(example = "Your order 66")]
    subject: String,
    template_id: Option<Uuid>,
    #[schema(example = json!(["receipt"]))]
    tags: Vec<String>,
    #[schema(example = json!({ "order_id": 66 }))]
    metadata: Map<String, Value>,
    /// How often it was tried.
    #[schema(minimum = 0)]
    attempts: i16,
    route_id: Option<Uuid>,
    #[schema(example = 250)]
    smtp_code: Option<i16>,
    #[schema(example = "2.0.0")]
    enhanced_code: Option<String>,
    /// What the server said.
    #[schema(example = "ok, queued")]
    response: Option<String>,
    /// Why, in our words, where it is not accepted.
    #[schema(example = "greylisted")]
    reason: Option<String>,
    created_at: DateTime<Utc>,
    first_attempt_at: Option<DateTime<Utc>>,
    last_attempt_at: Option<DateTime<Utc>>,
    next_attempt_at: Option<DateTime<Utc>>,
    /// No attempt is begun after it.
    expires_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MessageAttachment)]
struct ToldAttachment {
    #[schema(example = "receipt.txt")]
    filename: String,
    #[schema(example = "text/plain")]
    content_type: String,
    #[schema(example = "receipt@shop.example.com")]
    content_id: Option<String>,
    #[schema(minimum = 0)]
    bytes: i32,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MessageEvent)]
struct EventBody {
    kind: MessageState,
    at: DateTime<Utc>,
    /// Which attempt, counted from 1; 0 before the first.
    #[schema(minimum = 0)]
    attempt: i16,
    route_id: Option<Uuid>,
    #[schema(example = 451)]
    smtp_code: Option<i16>,
    #[schema(example = "4.7.1")]
    enhanced_code: Option<String>,
    #[schema(example = "Greylisted, try again later")]
    response: Option<String>,
    #[schema(example = "greylisted")]
    reason: Option<String>,
}

/// A message as it is told: with what it says and what happened to it.
#[derive(Serialize, ToSchema)]
#[schema(as = Message)]
struct MessageBody {
    #[serde(flatten)]
    summary: Summary,
    #[schema(example = "<p>Hello Ann, order 66 is on its way.</p>")]
    html: Option<String>,
    #[schema(example = "Hello Ann, order 66 is on its way.")]
    text: String,
    #[schema(example = json!({ "X-Order": "66" }))]
    headers: BTreeMap<String, String>,
    attachments: Vec<ToldAttachment>,
    /// In their order.
    events: Vec<EventBody>,
}

impl From<Message> for Summary {
    fn from(message: Message) -> Self {
        Self {
            id: message.id,
            workspace_id: message.workspace_id,
            message_id: message.message_id(),
            state: message.state,
            from: MailboxBody::new(message.from_name, message.from_email),
            to: MailboxBody::new(message.to_name, message.recipient),
            reply_to: message.reply_to_email.map(|email| MailboxBody::new(message.reply_to_name.unwrap_or_default(), email)),
            subject: message.subject,
            template_id: message.template_id,
            tags: message.tags,
            metadata: message.metadata.0,
            attempts: message.attempts,
            route_id: message.route_id,
            smtp_code: message.smtp_code,
            enhanced_code: message.enhanced_code,
            response: message.response,
            reason: message.reason,
            created_at: message.created_at,
            first_attempt_at: message.first_attempt_at,
            last_attempt_at: message.last_attempt_at,
            next_attempt_at: message.next_attempt_at,
            expires_at: message.expires_at,
            updated_at: message.updated_at,
        }
    }
}

impl MessageBody {
    fn new(mut message: Message, attachments: Vec<Told>, events: Vec<Event>) -> Result<Self, Error> {
        let (html, text, headers) =
            (message.html.take(), std::mem::take(&mut message.text), std::mem::take(&mut message.headers.0));
        let attachments = attachments.into_iter().map(|Told { filename, content_type, content_id, bytes }| ToldAttachment {
            filename,
            content_type,
            content_id,
            bytes,
        });
        let events = events.into_iter().map(|event| {
            let Event { kind, attempt, route_id, smtp_code, enhanced_code, response, reason, created_at } = event;
            let kind = MessageState::try_from(kind).map_err(Error::internal)?;
            Ok(EventBody { kind, at: created_at, attempt, route_id, smtp_code, enhanced_code, response, reason })
        });
        Ok(Self {
            html,
            text,
            headers: headers.into_iter().collect(),
            attachments: attachments.collect(),
            events: events.collect::<Result<_, Error>>()?,
            summary: message.into(),
        })
    }
}

type Taken = (StatusCode, [(HeaderName, String); 1], Json<TakenBody>);

/// Send a message
///
/// It goes out before all campaigns, at once. Bounces, complaints and suppressions that a person entered are minded; that somebody has
/// unsubscribed from campaigns is not. Where nobody knows whether a server took it, it is sent again with the same Message-ID.
#[utoipa::path(post, path = "/messages", operation_id = "create_message", tag = "messages", security(("bearer" = ["editor"])),
    responses((status = 202, description = "It is on its way", body = TakenBody),
              (status = 409, description = "mail cannot come from shop.example.com: it is no sending domain of this workspace")))]
async fn create(State(state): State<AppState>, caller: Editor, Json(body): Json<NewBody>) -> ApiResult<Taken> {
    let mut transaction = database::begin(&state.pool).await?;
    let expire_seconds = state.settings.sending.transactional.retry.expire_seconds;
    let message = message::create(&mut transaction, caller.scope, body.into(), expire_seconds).await?;
    transaction.commit().await?;
    if let Some(job_id) = message.job_id {
        state.hint(job_id);
    }
    let taken = TakenBody { id: message.id, message_id: message.message_id(), state: message.state };
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, format!("/api/v1/messages/{}", message.id))], Json(taken)))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MessagesQuery {
    page: Option<i64>,
    limit: Option<i64>,
    /// In this state.
    state: Option<MessageState>,
    /// With this tag.
    tag: Option<String>,
    /// To this address.
    to: Option<String>,
    /// Taken on this day or later (UTC).
    date_from: Option<NaiveDate>,
    /// Taken on this day or earlier (UTC).
    date_to: Option<NaiveDate>,
}

/// The workspace's messages
#[utoipa::path(get, path = "/messages", operation_id = "list_messages", tag = "messages", security(("bearer" = ["viewer"])),
    params(MessagesQuery), responses((status = 200, description = "A page of messages", body = Page<Summary>)))]
async fn page(State(state): State<AppState>, caller: Caller, Query(query): Query<MessagesQuery>) -> ApiResult<Json<Page<Summary>>> {
    let MessagesQuery { page, limit, state: wanted, tag, to, date_from, date_to } = query;
    let request = PageRequest::new(page, limit)?;
    in_years([("date_from", date_from), ("date_to", date_to)])?;
    let filter = Filter { state: wanted, tag, to, date_from, date_to };
    Ok(Json(message::page(&state.pool, caller.scope, &filter, request).await?.map(Summary::from)))
}

/// One message, with its events
#[utoipa::path(get, path = "/messages/{id}", operation_id = "get_message", tag = "messages", security(("bearer" = ["viewer"])),
    responses((status = 200, description = "The message", body = MessageBody)))]
async fn one(State(state): State<AppState>, caller: Caller, Path(id): Path<Uuid>) -> ApiResult<Json<MessageBody>> {
    let message = message::find(&state.pool, caller.scope, id).await?;
    let attachments = attachment::of(&state.pool, id).await?;
    let events = event::of(&state.pool, id).await?;
    Ok(Json(MessageBody::new(message, attachments, events)?))
}

/// Take a message back
///
/// While it waits for its first or for another attempt.
#[utoipa::path(post, path = "/messages/{id}/cancel", operation_id = "cancel_message", tag = "messages", security(("bearer" = ["editor"])),
    responses((status = 200, description = "It is not sent", body = Summary),
              (status = 409, description = "message 01936f2a-7c1e-7a3b-9c4d-5e6f70818293 is accepted; only one that waits is cancelled")))]
async fn cancel(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<Json<Summary>> {
    let mut transaction = database::begin(&state.pool).await?;
    let cancelled = message::cancel(&mut transaction, caller.scope, id).await?;
    transaction.commit().await?;
    Ok(Json(cancelled.into()))
}
