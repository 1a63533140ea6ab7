//! Sending domains: claim one, publish its records, have it verified.

use axum::{
    extract::State,
    http::{HeaderName, StatusCode, header},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    campaigns::sender_domain,
    database,
    database::Connection,
    page::{Page, PageRequest},
    queue::lane::Lane,
    sending_domains::{
        check::Check,
        dkim_key::{self, Algorithm, DkimKey},
        payload,
        records::{self, Record},
        sending_domain::{self, SendingDomain, State as DomainState},
        sources::Sources,
    },
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    caller::{Caller, Editor},
    error::ApiResult,
    extract::{Json, Path, Query},
    front::etags::{IfMatch, Tagged},
    state::AppState,
};

/// `/sending-domains`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(page, create)).routes(routes!(one, remove)).routes(routes!(verify)).routes(routes!(rotate))
}

/// A key that signs, or will, or did: without its private half.
#[derive(Serialize, ToSchema)]
#[schema(as = DkimKey)]
struct KeyBody {
    #[schema(example = "m1a2b3c4d-rsa")]
    selector: String,
    algorithm: Algorithm,
    /// `pending`: its record was not seen yet; `active`: it signs; `retiring`: its record verifies what is on its way.
    #[schema(pattern = "^(pending|active|retiring)$", example = "active")]
    state: String,
    /// When it began to sign.
    activated_at: Option<DateTime<Utc>>,
    /// When it ceased to.
    retired_at: Option<DateTime<Utc>>,
}

impl From<DkimKey> for KeyBody {
    fn from(key: DkimKey) -> Self {
        let DkimKey { selector, algorithm, state, activated_at, retired_at, .. } = key;
        Self { selector, algorithm, state, activated_at, retired_at }
    }
}

/// A domain in a list.
#[derive(Serialize, ToSchema)]
#[schema(as = SendingDomainSummary)]
struct Summary {
    id: Uuid,
    workspace_id: Uuid,
    #[schema(example = "shop.example.com")]
    domain: String,
    state: DomainState,
    /// When its DNS was last looked at.
    checked_at: Option<DateTime<Utc>>,
    /// When it was verified for the first time.
    verified_at: Option<DateTime<Utc>>,
    /// Since when a check fails.
    failing_since: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<SendingDomain> for Summary {
    fn from(domain: SendingDomain) -> Self {
        Self {
            id: domain.id,
            workspace_id: domain.workspace_id,
            domain: domain.domain,
            state: domain.state,
            checked_at: domain.checked_at,
            verified_at: domain.verified_at,
            failing_since: domain.failing_since,
            created_at: domain.created_at,
            updated_at: domain.updated_at,
        }
    }
}

/// A domain with all that there is to publish for it, and what was found.
#[derive(Serialize, ToSchema)]
#[schema(as = SendingDomain)]
struct DomainBody {
    #[serde(flatten)]
    summary: Summary,
    /// Bounces come back to addresses at this host.
    #[schema(example = "bounces.shop.example.com")]
    return_path_host: String,
    /// What its DNS must have, to be copied as it is.
    records: Vec<Record>,
    keys: Vec<KeyBody>,
    /// Of the last verification; empty before the first.
    checks: Vec<Check>,
}

/// The domain as it is told, with its records as they would be published now.
async fn whole(state: &AppState, connection: &mut Connection, domain: SendingDomain) -> ApiResult<DomainBody> {
    let keys = dkim_key::published(connection, domain.id).await?;
    let sources = Sources::read(connection, &state.settings).await?;
    let records = records::all(&domain, &keys, &sources, &records::inbound_host(&state.settings));
    Ok(DomainBody {
        return_path_host: domain.return_path_host.clone(),
        records,
        keys: keys.into_iter().map(KeyBody::from).collect(),
        checks: domain.checks.0.clone(),
        summary: domain.into(),
    })
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSendingDomain)]
struct NewBody {
    /// What stands after the @ of the sender.
    #[schema(min_length = 3, max_length = 253, example = "shop.example.com")]
    domain: String,
}

/// Claim a domain to send from
///
/// Publish its records, then have it verified. Another workspace may claim it too; only one can verify it.
#[utoipa::path(post, path = "/sending-domains", operation_id = "create_sending_domain", tag = "sending-domains", security(("bearer" = ["editor"])),
    responses((status = 201, description = "The domain, with the records to publish", body = DomainBody),
              (status = 409, description = "the sending domain shop.example.com exists already")))]
async fn create(
    State(state): State<AppState>,
    caller: Editor,
    Json(body): Json<NewBody>,
) -> ApiResult<(StatusCode, Json<DomainBody>)> {
    let mut transaction = database::begin(&state.pool).await?;
    let created = sending_domain::create(&mut transaction, &state.vault, caller.scope, &body.domain).await?;
    let told = whole(&state, &mut transaction, created).await?;
    transaction.commit().await?;
    Ok((StatusCode::CREATED, Json(told)))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DomainsQuery {
    page: Option<i64>,
    limit: Option<i64>,
    /// Part of the domain.
    #[serde(default)]
    search: String,
    /// In this state.
    state: Option<DomainState>,
}

/// The workspace's sending domains
#[utoipa::path(get, path = "/sending-domains", operation_id = "list_sending_domains", tag = "sending-domains", security(("bearer" = ["viewer"])),
    params(DomainsQuery), responses((status = 200, description = "A page of domains", body = Page<Summary>)))]
async fn page(State(state): State<AppState>, caller: Caller, Query(query): Query<DomainsQuery>) -> ApiResult<Json<Page<Summary>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    let page = sending_domain::page(&state.pool, caller.scope, &query.search, query.state, request).await?;
    Ok(Json(page.map(Summary::from)))
}

/// One sending domain
#[utoipa::path(get, path = "/sending-domains/{id}", operation_id = "get_sending_domain", tag = "sending-domains", security(("bearer" = ["viewer"])),
    responses((status = 200, description = "The domain", body = DomainBody)))]
async fn one(State(state): State<AppState>, caller: Caller, Path(id): Path<Uuid>) -> ApiResult<Tagged<DomainBody>> {
    let mut connection = state.pool.acquire().await?;
    let found = sending_domain::find(&mut connection, caller.scope, id).await?;
    Ok(Tagged(found.updated_at, whole(&state, &mut connection, found).await?))
}

/// The job that looks.
#[derive(Serialize, ToSchema)]
#[schema(as = DomainVerification)]
struct VerificationBody {
    /// Its result says `state`, and the names of the checks that `failed`.
    job_id: Uuid,
}

/// Verify a domain
///
/// A worker asks name servers for its records. It is also done every night, and every hour while something is wrong.
#[utoipa::path(post, path = "/sending-domains/{id}/verify", operation_id = "verify_sending_domain", tag = "sending-domains", security(("bearer" = ["editor"])),
    responses((status = 202, description = "A job looks; poll it", body = VerificationBody,
               headers(("Location" = String, description = "`/api/v1/jobs/{id}`")))))]
async fn verify(
    State(state): State<AppState>,
    caller: Editor,
    Path(id): Path<Uuid>,
) -> ApiResult<(StatusCode, [(HeaderName, String); 1], Json<VerificationBody>)> {
    let mut transaction = database::begin(&state.pool).await?;
    let job_id = payload::verify(&mut transaction, caller.scope, id).await?;
    transaction.commit().await?;
    state.ring(Lane::Maintenance);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, format!("/api/v1/jobs/{job_id}"))], Json(VerificationBody { job_id })))
}

/// Exchange the keys of a domain
///
/// The new ones sign once their records were seen; the old records stay for a week after that.
#[utoipa::path(post, path = "/sending-domains/{id}/rotate-keys", operation_id = "rotate_sending_domain_keys", tag = "sending-domains", security(("bearer" = ["editor"])),
    responses((status = 200, description = "The domain, with the records of both pairs", body = DomainBody),
              (status = 409, description = "the last pair has not been seen in DNS yet")))]
async fn rotate(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<Json<DomainBody>> {
    let mut transaction = database::begin(&state.pool).await?;
    let changed = sending_domain::rotate_keys(&mut transaction, &state.vault, caller.scope, id).await?;
    let told = whole(&state, &mut transaction, changed).await?;
    transaction.commit().await?;
    Ok(Json(told))
}

/// Give a domain up
///
/// Its keys are destroyed. Campaigns that send from it are paused.
#[utoipa::path(delete, path = "/sending-domains/{id}", operation_id = "delete_sending_domain", tag = "sending-domains", security(("bearer" = ["editor"])),
    responses((status = 204, description = "It is gone")))]
async fn remove(
    State(state): State<AppState>,
    caller: Editor,
    Path(id): Path<Uuid>,
    IfMatch(expected): IfMatch,
) -> ApiResult<StatusCode> {
    let mut transaction = database::begin(&state.pool).await?;
    sending_domain::expect(&mut transaction, caller.scope, id, &expected).await?;
    let gone = sending_domain::delete(&mut transaction, caller.scope, id).await?;
    let reason = format!("its sending domain {} was deleted", gone.domain);
    sender_domain::hold_back(&mut transaction, gone.workspace_id, &gone.domain, &reason).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
