//! What providers post. No credentials: each post is signed, and stored with its job before it is answered for.

use axum::{extract::State, http::HeaderMap};
use serde::Serialize;
use shared::{
    error::Error,
    feedback::{
        post,
        providers::{Refusal, generic, mailgun, postmark, sendgrid, ses},
        source::{self, Kind, Known},
    },
    queue::lane::Lane,
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    error::{ApiError, ApiResult},
    extract::{Json, Path, Whole},
    state::AppState,
};

/// `/inbound`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(take))
}

/// What became of a post.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// It is here; a job reads it.
    Stored,
    /// It was here before: nothing happens.
    Known,
    /// The subscription is confirmed.
    Confirmed,
}

#[derive(Serialize, ToSchema)]
#[schema(as = InboundAnswer)]
struct Answer {
    outcome: Outcome,
}

/// A provider tells of bounces, complaints and unsubscribes
///
/// Each signs in its way: SES by Amazon's certificates (through SNS), SendGrid by its public key, Mailgun in the body, Postmark by basic
/// authentication, `generic` by `X-Mochila-Timestamp` and `X-Mochila-Signature`, the HMAC-SHA256 (hexadecimal) of the timestamp, a dot and the
/// body. The same post again does nothing.
#[utoipa::path(post, path = "/inbound/{provider}/{source_id}", operation_id = "take_inbound", tag = "feedback",
    params(("provider" = String, Path, description = "The source's kind."), ("source_id" = Uuid, Path, description = "The source.")),
    request_body(content = String, content_type = "text/plain", description = "JSON, as the provider writes it and whatever it calls it."),
    responses((status = 200, description = "It is here", body = Answer),
              (status = 403, description = "the post is not believed: its signature is wrong"),
              (status = 404, description = "there is no such source")))]
async fn take(
    State(state): State<AppState>,
    Path((provider, source_id)): Path<(String, Uuid)>,
    headers: HeaderMap,
    Whole(body): Whole,
) -> ApiResult<Json<Answer>> {
    let kind = Kind::try_from(provider).map_err(|_| Error::not_found("feedback source", source_id))?;
    let known = source::known(&state.pool, &state.vault, kind, source_id).await?;
    let outcome = match check(&state, kind, &known, &headers, &body).await {
        Ok(Checked::Confirmed) => Outcome::Confirmed,
        Ok(Checked::Good(replay_key)) if post::store(&state.pool, known.id, &replay_key, &body).await? => Outcome::Stored,
        Ok(Checked::Good(_)) => Outcome::Known,
        Err(reason) => {
            metrics::counter!("inbound_posts_total", "kind" => kind.name(), "outcome" => "refused").increment(1);
            source::refused(&state.pool, known.id).await?;
            return Err(reason);
        }
    };
    let told = match outcome {
        Outcome::Stored => "stored",
        Outcome::Known => "known",
        Outcome::Confirmed => "confirmed",
    };
    metrics::counter!("inbound_posts_total", "kind" => kind.name(), "outcome" => told).increment(1);
    if matches!(outcome, Outcome::Stored) {
        state.ring(Lane::Webhooks);
    }
    Ok(Json(Answer { outcome }))
}

/// What a post that is believed wants.
enum Checked {
    /// To be stored, under what tells it from another one.
    Good(Vec<u8>),
    /// It has got it.
    Confirmed,
}

async fn check(state: &AppState, kind: Kind, known: &Known, headers: &HeaderMap, body: &[u8]) -> Result<Checked, ApiError> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let now = state.clock.now();
    let checked = match kind {
        Kind::Ses => return amazon(state, known, body).await,
        Kind::Sendgrid => {
            let (timestamp, signature) =
                (header("x-twilio-email-event-webhook-timestamp"), header("x-twilio-email-event-webhook-signature"));
            sendgrid::check(&known.secret, timestamp, signature, body, now)
        }
        Kind::Mailgun => mailgun::check(&known.secret, body, now),
        Kind::Postmark => postmark::check(&known.secret, header("authorization"), body),
        Kind::Generic => generic::check(&known.secret, header("x-mochila-timestamp"), header("x-mochila-signature"), body, now),
    };
    checked.map(Checked::Good).map_err(|refusal| not_believed(&refusal))
}

async fn amazon(state: &AppState, known: &Known, body: &[u8]) -> Result<Checked, ApiError> {
    let topic = known.topic.as_deref().unwrap_or_default();
    let envelope = ses::Envelope::read(body, topic, state.clock.now()).map_err(|refusal| not_believed(&refusal))?;
    let at = envelope.certificate_url().map_err(|refusal| not_believed(&refusal))?;
    let key = state.amazon.key(at).await.map_err(Error::Internal)?;
    let replay_key = envelope.check(&key).map_err(|refusal| not_believed(&refusal))?;
    match envelope.confirmation_url().map_err(|refusal| not_believed(&refusal))? {
        None => Ok(Checked::Good(replay_key)),
        Some(url) => {
            state.amazon.confirm(url).await.map_err(Error::Internal)?;
            Ok(Checked::Confirmed)
        }
    }
}

fn not_believed(refusal: &Refusal) -> ApiError {
    Error::Forbidden(format!("the post is not believed: {refusal}")).into()
}
