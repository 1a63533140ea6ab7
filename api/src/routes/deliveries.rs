//! Deliveries of a campaign: a page at a time as JSON, all of them as CSV.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use futures::{Stream, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use shared::{
    PgPool,
    campaigns::{
        campaign::{self, Campaign},
        message::message_id,
    },
    deliveries::listing::{self, Delivery, Filter},
    error::Error,
    page::{Page, PageRequest},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    caller::Caller,
    error::ApiResult,
    extract::{Json, Path, Query},
    openapi::words,
    state::AppState,
};

/// Rows that are read at once for a file.
const PART: i64 = 2000;

/// `/campaigns/{id}/deliveries`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(page))
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = FileFormat)]
enum Format {
    Json,
    Csv,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeliveriesQuery {
    page: Option<i64>,
    limit: Option<i64>,
    /// Part of the address.
    #[serde(default)]
    search: String,
    /// In this state; `complained`: with the mark of a complaint, whatever the state.
    #[param(schema_with = words::delivery_filter)]
    state: Option<String>,
    /// `csv`: all of them as a file, as with `Accept: text/csv`.
    #[param(inline)]
    format: Option<Format>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
struct DeliveryBody {
    contact_id: Uuid,
    #[schema(example = "ann@example.com")]
    recipient: String,
    #[schema(schema_with = words::delivery_state)]
    state: String,
    attempts: i16,
    #[schema(example = 250)]
    smtp_code: Option<i16>,
    #[schema(example = "2.0.0")]
    enhanced_code: Option<String>,
    /// What the server said.
    #[schema(example = "250 2.0.0 ok, queued")]
    response: Option<String>,
    /// Why, where it is not the server that refused.
    #[schema(example = "expired")]
    reason: Option<String>,
    #[schema(example = "<01936f2a7c1e7a3b9c4d5e6f70818293@shop.example.com>")]
    message_id: String,
    route_id: Option<Uuid>,
    first_attempt_at: Option<DateTime<Utc>>,
    last_attempt_at: Option<DateTime<Utc>>,
    next_attempt_at: Option<DateTime<Utc>>,
    /// When the recipient called it spam.
    complained_at: Option<DateTime<Utc>>,
}

impl DeliveryBody {
    fn new(delivery: Delivery, campaign: &Campaign) -> Self {
        Self {
            contact_id: delivery.contact_id,
            recipient: delivery.recipient,
            state: delivery.state,
            attempts: delivery.attempts,
            smtp_code: delivery.smtp_code,
            enhanced_code: delivery.enhanced_code,
            response: delivery.response,
            reason: delivery.reason,
            message_id: message_id(campaign.id, delivery.contact_id, campaign.from_domain()),
            route_id: delivery.route_id,
            first_attempt_at: delivery.first_attempt_at,
            last_attempt_at: delivery.last_attempt_at,
            next_attempt_at: delivery.next_attempt_at,
            complained_at: delivery.complained_at,
        }
    }
}

/// What became of each recipient
#[utoipa::path(get, path = "/campaigns/{id}/deliveries", operation_id = "list_deliveries", tag = "deliveries", security(("bearer" = ["viewer"])),
    params(DeliveriesQuery), responses((status = 200, description = "A page of deliveries, or all of them as CSV",
               content((Page<DeliveryBody> = "application/json"), (String = "text/csv")))))]
async fn page(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
    Query(query): Query<DeliveriesQuery>,
) -> ApiResult<Response> {
    let request = PageRequest::new(query.page, query.limit)?;
    let filter = Filter::new(query.search, query.state)?;
    let campaign = campaign::find(&state.pool, caller.scope, id).await?;
    let wants_csv = headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/csv"));
    if matches!((query.format, wants_csv), (Some(Format::Csv), _) | (None, true)) {
        return Ok(file(state.pool.clone(), campaign, filter));
    }
    let page = listing::page(&state.pool, id, &filter, request).await?;
    Ok(Json(page.map(|delivery| DeliveryBody::new(delivery, &campaign))).into_response())
}

fn file(pool: PgPool, campaign: Campaign, filter: Filter) -> Response {
    let disposition = format!("attachment; filename=\"deliveries-{}.csv\"", campaign.id);
    let headers = [(header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    let lines = lines(pool, campaign, filter).inspect_err(|error| tracing::error!(%error, "a file of deliveries was cut short"));
    (headers, Body::from_stream(lines)).into_response()
}

/// Part by part, so that a million rows need no more memory than a few. A failure cuts the answer short, which the client sees.
fn lines(pool: PgPool, campaign: Campaign, filter: Filter) -> impl Stream<Item = Result<Vec<u8>, Error>> {
    let first = stream::once(async { listing::csv_header() });
    let rest = stream::try_unfold((None, false), move |(after, over)| {
        let (pool, filter) = (pool.clone(), filter.clone());
        let (id, domain) = (campaign.id, campaign.from_domain().to_owned());
        async move {
            if over {
                return Ok(None);
            }
            let rows = listing::after(&pool, id, &filter, after, PART).await?;
            let Some(last) = rows.last().map(|row| row.contact_id) else { return Ok(None) };
            let over = i64::try_from(rows.len()).is_ok_and(|rows| rows < PART);
            let bytes = listing::csv_lines(&rows, |contact_id| message_id(id, contact_id, &domain))?;
            Ok(Some((bytes, (Some(last), over))))
        }
    });
    futures::StreamExt::chain(first, rest)
}
