//! Destinations: what an operator sees and sets of a recipient domain, or of a provider that runs many. For admins.

use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    database,
    deliveries::{
        limits,
        overview::{self, Overview},
        shaping::Rules,
    },
    error::Error,
    page::{Page, PageRequest},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Admin,
    error::ApiResult,
    extract::{Json, Path, Query},
    front::etags::{IfMatch, Tagged},
    state::AppState,
};

/// `/destinations`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(page))
        .routes(routes!(one))
        .routes(routes!(set))
        .routes(routes!(suspend))
        .routes(routes!(resume))
}

#[derive(Serialize, ToSchema)]
struct Replies {
    #[schema(minimum = 0, example = 1200)]
    accepted: i64,
    #[schema(minimum = 0, example = 3)]
    deferred: i64,
    #[schema(minimum = 0)]
    failed: i64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Destination)]
struct DestinationBody {
    /// A recipient domain, or a provider.
    #[schema(example = "example.com")]
    domain: String,
    /// Who runs its mailboxes, as far as is known.
    #[schema(example = "google")]
    provider: Option<String>,
    /// Recipients that wait: in chunks of this destination, or deferred.
    #[schema(minimum = 0)]
    queued: i64,
    /// Recipients of its chunks that run now.
    #[schema(minimum = 0)]
    in_flight: i64,
    /// Since when the first of those who wait waits.
    oldest_at: Option<DateTime<Utc>>,
    /// Messages a second that it accepted in this hour.
    accepted_per_second: f64,
    /// Messages a second that it may have now; null: no limit of its own. Routes and workspaces have theirs besides.
    allowed_per_second: Option<f64>,
    /// Connections that it may have now; null: no limit of its own.
    #[schema(minimum = 1)]
    allowed_connections: Option<u32>,
    /// Set by an operator.
    rate_per_second: Option<f64>,
    max_connections: Option<i32>,
    /// Messages a second, learned from its replies.
    adaptive_rate: Option<f64>,
    cooldown_until: Option<DateTime<Utc>>,
    suspended_until: Option<DateTime<Utc>>,
    /// Why it is suspended or cools down.
    #[schema(example = "policy")]
    reason: Option<String>,
    /// The adaptive rule of the shaping file that acted last.
    #[schema(example = "yahoo-tss04")]
    rule: Option<String>,
    #[schema(example = "421 4.7.0 try again later")]
    last_reply: Option<String>,
    slowed_at: Option<DateTime<Utc>>,
    this_hour: Replies,
    last_day: Replies,
    updated_at: Option<DateTime<Utc>>,
}

impl From<Overview> for DestinationBody {
    fn from(one: Overview) -> Self {
        Self {
            accepted_per_second: one.accepted_per_second(),
            domain: one.domain,
            provider: one.provider,
            queued: one.queued,
            in_flight: one.in_flight,
            oldest_at: one.oldest_at,
            allowed_per_second: one.allowed_per_second,
            allowed_connections: one.allowed_connections,
            rate_per_second: one.rate_per_second,
            max_connections: one.max_connections,
            adaptive_rate: one.adaptive_rate,
            cooldown_until: one.cooldown_until,
            suspended_until: one.suspended_until,
            reason: one.reason,
            rule: one.rule,
            last_reply: one.last_reply,
            slowed_at: one.slowed_at,
            this_hour: Replies { accepted: one.accepted_hour, deferred: one.deferred_hour, failed: one.failed_hour },
            last_day: Replies { accepted: one.accepted_day, deferred: one.deferred_day, failed: one.failed_day },
            updated_at: one.updated_at,
        }
    }
}

/// What the list is of.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum By {
    /// Recipient domains.
    #[default]
    Domain,
    /// Providers of the shaping file, each with the domains that it is known to run.
    Provider,
}

/// The rules as the workers have them. A file that the api cannot read, or that is wrong, leaves the default.
async fn rules(state: &AppState) -> Rules {
    let path = &state.settings.sending.shaping;
    let text = if path.is_empty() { None } else { tokio::fs::read_to_string(path).await.ok() };
    Rules::read(text.as_deref()).or_else(|_| Rules::read(None)).unwrap_or_default()
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DestinationsQuery {
    page: Option<i64>,
    limit: Option<i64>,
    /// Part of the domain, or of the provider's name.
    #[serde(default)]
    search: String,
    /// Domains, if absent.
    #[serde(default)]
    #[param(inline)]
    by: By,
}

/// Destinations: what waits for them, what they accept, what holds them back
#[utoipa::path(get, path = "/destinations", operation_id = "list_destinations", tag = "destinations", security(("bearer" = ["admin"])),
    params(DestinationsQuery), responses((status = 200, description = "A page of destinations", body = Page<DestinationBody>)))]
async fn page(
    State(state): State<AppState>,
    _: Admin,
    Query(query): Query<DestinationsQuery>,
) -> ApiResult<Json<Page<DestinationBody>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    let rules = rules(&state).await;
    let page = match query.by {
        By::Domain => overview::by_domain(&state.pool, &rules, &query.search, request).await?,
        By::Provider => overview::by_provider(&state.pool, &rules, &query.search, request).await?,
    };
    Ok(Json(page.map(DestinationBody::from)))
}

/// One destination
#[utoipa::path(get, path = "/destinations/{domain}", operation_id = "get_destination", tag = "destinations", security(("bearer" = ["admin"])),
    params(("domain" = String, Path, description = "The domain of the recipients, or `provider:` and the name of a provider, such as `provider:google`.", example = "example.com")), responses((status = 200, description = "The destination", body = DestinationBody)))]
async fn one(State(state): State<AppState>, _: Admin, Path(domain): Path<String>) -> ApiResult<Tagged<DestinationBody>> {
    Ok(tagged(overview::find(&state.pool, &rules(&state).await, &domain).await?))
}

/// Its version is that of the limits, which are all that a change may expect.
fn tagged(overview: Overview) -> Tagged<DestinationBody> {
    Tagged(overview.limits_set_at.unwrap_or_default(), overview.into())
}

/// The whole of the limits: what is null or absent is taken away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DestinationLimits)]
struct LimitsBody {
    /// Messages a second.
    #[schema(exclusive_minimum = 0.0, example = 20.0)]
    rate_per_second: Option<f64>,
    #[schema(minimum = 1, maximum = 10_000, example = 5)]
    max_connections: Option<i32>,
}

/// Set the limits of a destination
///
/// All of them: what is absent or null is taken away. `If-Match` names the `ETag` of the destination, and means its limits alone.
#[utoipa::path(put, path = "/destinations/{domain}/limits", operation_id = "set_destination_limits", tag = "destinations", security(("bearer" = ["admin"])),
    params(("domain" = String, Path, description = "The domain of the recipients, or `provider:` and the name of a provider, such as `provider:google`.", example = "example.com")), responses((status = 200, description = "The destination", body = DestinationBody)))]
async fn set(
    State(state): State<AppState>,
    _: Admin,
    Path(domain): Path<String>,
    IfMatch(expected): IfMatch,
    Json(body): Json<LimitsBody>,
) -> ApiResult<Tagged<DestinationBody>> {
    let mut transaction = database::begin(&state.pool).await?;
    limits::set(&mut transaction, &domain, body.rate_per_second, body.max_connections, &expected).await?;
    transaction.commit().await?;
    Ok(tagged(overview::find(&state.pool, &rules(&state).await, &domain).await?))
}

/// How long: until a moment, or for so many seconds.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DestinationSuspension, example = json!({ "seconds": 3600, "reason": "the provider asked us to wait" }))]
struct SuspensionBody {
    /// A moment within the next 366 days.
    until: Option<DateTime<Utc>>,
    #[schema(minimum = 1, maximum = 31_622_400)]
    seconds: Option<i64>,
    /// For whoever looks next.
    #[schema(min_length = 1, max_length = 200)]
    reason: Option<String>,
}

/// Start nothing to a destination for a while
///
/// Over all workers, within a few seconds. One of `until` and `seconds` is needed.
#[utoipa::path(post, path = "/destinations/{domain}/suspend", operation_id = "suspend_destination", tag = "destinations", security(("bearer" = ["admin"])),
    params(("domain" = String, Path, description = "The domain of the recipients, or `provider:` and the name of a provider, such as `provider:google`.", example = "example.com")), responses((status = 200, description = "The destination", body = DestinationBody)))]
async fn suspend(
    State(state): State<AppState>,
    _: Admin,
    Path(domain): Path<String>,
    Json(body): Json<SuspensionBody>,
) -> ApiResult<Json<DestinationBody>> {
    let now = state.clock.now();
    let until = match (body.until, body.seconds) {
        (Some(until), None) => until,
        (None, Some(seconds)) => TimeDelta::try_seconds(seconds)
            .and_then(|span| now.checked_add_signed(span))
            .ok_or_else(|| Error::invalid("seconds", format!("must be between 1 and 31622400, not {seconds}")))?,
        _ => return Err(Error::invalid("until", "one of until and seconds is needed").into()),
    };
    limits::suspend(&mut *state.pool.acquire().await?, &domain, until, body.reason.as_deref(), now).await?;
    Ok(Json(overview::find(&state.pool, &rules(&state).await, &domain).await?.into()))
}

/// Lift a suspension or a cool-down
#[utoipa::path(post, path = "/destinations/{domain}/resume", operation_id = "resume_destination", tag = "destinations", security(("bearer" = ["admin"])),
    params(("domain" = String, Path, description = "The domain of the recipients, or `provider:` and the name of a provider, such as `provider:google`.", example = "example.com")), responses((status = 200, description = "The destination", body = DestinationBody)))]
async fn resume(State(state): State<AppState>, _: Admin, Path(domain): Path<String>) -> ApiResult<Json<DestinationBody>> {
    limits::resume(&mut *state.pool.acquire().await?, &domain).await?;
    Ok(Json(overview::find(&state.pool, &rules(&state).await, &domain).await?.into()))
}
