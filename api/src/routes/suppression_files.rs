//! The suppression list as a file, in and out.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use shared::{
    PgPool,
    accounts::scope::Scope,
    error::Error,
    suppressions::file::{self, Imported, Loading},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::{Caller, Editor},
    error::{ApiError, ApiResult},
    extract::{Json, check_media_type},
    state::AppState,
};

/// Rows that are read at once for a file.
const PART: i64 = 2000;

/// `/suppressions/import` and `/suppressions/export`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(import)).routes(routes!(export))
}

/// Suppress what a file names
///
/// CSV, an address or a domain a line; a first line may name the columns `value` (or `email`), `kind`, `reason` and `expires_at`, as the export
/// writes them. It is read as it comes, a thousand lines at a time: the same file again does no harm.
#[utoipa::path(post, path = "/suppressions/import", operation_id = "import_suppressions", tag = "suppressions", security(("bearer" = ["editor"])),
    request_body(content = String, content_type = "text/csv"),
    responses((status = 200, description = "What became of its lines", body = Imported)))]
async fn import(State(state): State<AppState>, caller: Editor, headers: HeaderMap, body: Body) -> ApiResult<Json<Imported>> {
    check_media_type(&headers, "text/csv", |essence| essence == "text/csv")?;
    let limit_bytes = state.settings.api.max_upload_bytes;
    let mut loading = Loading::new(state.pool.clone(), caller.scope);
    let mut body = body.into_data_stream();
    let mut taken = 0;
    while let Some(octets) = body.next().await {
        let octets = octets.map_err(|_| ApiError::BodyLost("the body could not be read to its end".to_owned()))?;
        taken += octets.len() as u64;
        if taken > limit_bytes {
            return Err(Error::TooLarge { limit_bytes }.into());
        }
        loading.take(&octets).await?;
    }
    Ok(Json(loading.finish().await?))
}

/// The workspace's suppressions as a file
#[utoipa::path(get, path = "/suppressions/export", operation_id = "export_suppressions", tag = "suppressions", security(("bearer" = ["viewer"])),
    responses((status = 200, description = "All that count, as CSV", body = String, content_type = "text/csv")))]
async fn export(State(state): State<AppState>, caller: Caller) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"suppressions.csv\""),
    ];
    let lines = lines(state.pool.clone(), caller.scope)
        .inspect_err(|error| tracing::error!(%error, "a file of suppressions was cut short"));
    (headers, Body::from_stream(lines)).into_response()
}

fn lines(pool: PgPool, scope: Scope) -> impl Stream<Item = Result<Vec<u8>, Error>> {
    let first = stream::once(async { file::header() });
    let rest = stream::try_unfold(None, move |after| {
        let pool = pool.clone();
        async move {
            let rows = file::after(&pool, scope, after, PART).await?;
            let Some(last) = rows.last().map(|row| row.id) else { return Ok(None) };
            Ok(Some((file::lines(&rows)?, Some(last))))
        }
    });
    first.chain(rest)
}
