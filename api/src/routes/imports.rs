//! Files on their way in: upload, progress, errors to download.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    error::Error,
    imports::{
        import::{self, Import, Report},
        row_errors::{self, StoredError},
        upload::{self, Accepted, Upload},
    },
    page::{Page, PageRequest},
    queue::lane::Lane,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};
use uuid::Uuid;

use crate::{
    caller::{Caller, Editor},
    error::{ApiError, ApiResult},
    extract::{Json, Path, Query},
    front::pieces::{Piece, Pieces},
    openapi::words,
    state::AppState,
};

/// Most bytes of a field that is not the file.
const MOST_TEXT: usize = 1000;
/// How long the rest of a refused upload is read: a client that is still sending would see a broken connection, not the answer.
const REFUSED_REST: Duration = Duration::from_secs(10);

/// `/imports`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(page))
        // The upload counts its bytes itself: to the file's own limit.
        .routes(routes!(receive).layer(DefaultBodyLimit::disable()))
        .routes(routes!(one))
        .routes(routes!(errors))
        .routes(routes!(cancel))
}

/// In bytes of the file.
#[derive(Serialize, ToSchema)]
#[schema(as = ImportProgress)]
struct Progress {
    #[schema(minimum = 0, example = 4096)]
    done: i64,
    #[schema(minimum = 0, example = 4096)]
    total: i64,
    #[schema(minimum = 0, maximum = 100, example = 100)]
    percent: i64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Import)]
struct ImportBody {
    id: Uuid,
    job_id: Option<Uuid>,
    workspace_id: Uuid,
    #[schema(pattern = "^contacts$", example = "contacts")]
    target: String,
    /// Null where the list is gone.
    list_id: Option<Uuid>,
    #[schema(schema_with = words::import_state)]
    state: String,
    #[schema(example = "customers.csv")]
    file_name: String,
    #[schema(minimum = 0, example = 4096)]
    size_bytes: i64,
    progress: Progress,
    counts: Report,
    /// Why the whole file is of no use, where it is.
    #[schema(example = "the header names no column email")]
    failure: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
}

impl From<Import> for ImportBody {
    fn from(import: Import) -> Self {
        let (done, total) = (import.bytes_done, import.size_bytes);
        let percent = if total > 0 { done.saturating_mul(100) / total } else { 0 };
        Self {
            counts: import.report(),
            progress: Progress { done, total, percent },
            id: import.id,
            job_id: import.job_id,
            workspace_id: import.workspace_id,
            target: import.target,
            list_id: import.list_id,
            state: import.state,
            file_name: import.file_name,
            size_bytes: import.size_bytes,
            failure: import.failure,
            created_at: import.created_at,
            updated_at: import.updated_at,
            finished_at: import.finished_at,
        }
    }
}

type Located = (StatusCode, [(HeaderName, String); 1], Json<ImportBody>);

fn located(status: StatusCode, import: Import) -> Located {
    let job_id = import.job_id.unwrap_or_default();
    (status, [(header::LOCATION, format!("/api/v1/jobs/{job_id}"))], Json(import.into()))
}

/// What an upload is made of. The fields may come in any order.
#[derive(ToSchema)]
#[schema(as = Upload)]
#[expect(dead_code, reason = "the form is read field by field, so that the file never stands in memory")]
struct UploadForm {
    #[schema(pattern = "^contacts$", example = "contacts")]
    target: String,
    /// The list that the contacts join.
    list_id: Uuid,
    /// CSV in UTF-8 whose header names a column `email`.
    #[schema(format = Binary)]
    file: String,
}

/// Upload a file
#[utoipa::path(post, path = "/imports", operation_id = "create_import", tag = "imports", security(("bearer" = ["editor"])),
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses((status = 202, description = "It is here; a job reads it", body = ImportBody)))]
async fn receive(State(state): State<AppState>, caller: Editor, mut pieces: Pieces) -> ApiResult<Located> {
    let mut form = Form::default();
    let accepted = match form.read(&state, &caller, &mut pieces).await {
        Ok(()) => form.accept().await,
        Err(error) => Err(form.discard(error).await),
    };
    match accepted {
        Ok(accepted) => {
            state.ring(Lane::Imports);
            Ok(located(StatusCode::ACCEPTED, import::find(&state.pool, caller.scope, accepted.id).await?))
        }
        Err(error) => {
            let _ = tokio::time::timeout(REFUSED_REST, pieces.drain()).await;
            Err(error)
        }
    }
}

/// The fields of an upload, in whatever order they come.
#[derive(Default)]
struct Form {
    target: Option<String>,
    list_id: Option<Uuid>,
    upload: Option<Upload>,
}

impl Form {
    async fn read(&mut self, state: &AppState, caller: &Caller, pieces: &mut Pieces) -> ApiResult<()> {
        while let Some(piece) = pieces.next().await? {
            match piece.name() {
                "target" if self.target.is_none() => {
                    let target = text("target", piece).await?;
                    upload::check_target(&target)?;
                    self.target = Some(target);
                }
                "list_id" if self.list_id.is_none() => {
                    let text = text("list_id", piece).await?;
                    let id = text.parse().map_err(|_| Error::invalid("list_id", format!("{text:?} is not a UUID")))?;
                    upload::check_list(&state.pool, caller.scope, id).await?;
                    self.list_id = Some(id);
                }
                "file" if self.upload.is_none() => self.file(state, caller, piece).await?,
                name @ ("target" | "list_id" | "file") => return Err(Error::invalid(name, "stands there twice").into()),
                other => {
                    let name = other.chars().take(100).collect::<String>();
                    return Err(Error::invalid(name, "is not a known field; the fields are target, list_id and file").into());
                }
            }
        }
        if self.target.is_none() {
            return Err(Error::invalid("target", "is required: \"contacts\"").into());
        }
        if self.list_id.is_none() {
            return Err(Error::invalid("list_id", "is required: the list that the contacts join").into());
        }
        match &self.upload {
            Some(upload) => Ok(upload.check()?),
            None => Err(Error::invalid("file", "is required: a CSV file in UTF-8").into()),
        }
    }

    /// Streams the file into the store.
    async fn file(&mut self, state: &AppState, caller: &Caller, mut piece: Piece<'_>) -> ApiResult<()> {
        let name = piece.file_name().to_owned();
        let limit = state.settings.api.max_upload_bytes;
        let upload = self.upload.insert(Upload::begin(&state.pool, &state.store, caller.scope, &name, limit).await?);
        while let Some(bytes) = piece.chunk().await? {
            upload.write(bytes).await?;
        }
        Ok(())
    }

    async fn accept(self) -> ApiResult<Accepted> {
        match (self.upload, self.list_id) {
            (Some(upload), Some(list_id)) => Ok(upload.accept(list_id).await?),
            _ => Err(Error::internal("a form without its file or list passed its checks").into()),
        }
    }

    /// Removes what was received, and hands the reason on.
    async fn discard(self, error: ApiError) -> ApiError {
        if let Some(upload) = self.upload {
            upload.discard().await;
        }
        error
    }
}

/// A short field.
async fn text(name: &'static str, mut piece: Piece<'_>) -> ApiResult<String> {
    let mut bytes = Vec::new();
    while let Some(more) = piece.chunk().await? {
        bytes.extend_from_slice(&more);
        if bytes.len() > MOST_TEXT {
            return Err(Error::invalid(name, format!("is longer than {MOST_TEXT} bytes")).into());
        }
    }
    String::from_utf8(bytes).map_err(|_| Error::invalid(name, "is not UTF-8").into())
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ImportsQuery {
    page: Option<i64>,
    limit: Option<i64>,
    /// In this state.
    #[param(schema_with = words::import_state)]
    state: Option<String>,
}

/// The workspace's imports
#[utoipa::path(get, path = "/imports", operation_id = "list_imports", tag = "imports", security(("bearer" = ["viewer"])),
    params(ImportsQuery), responses((status = 200, description = "A page of imports", body = Page<ImportBody>)))]
async fn page(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ImportsQuery>,
) -> ApiResult<Json<Page<ImportBody>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    Ok(Json(import::list(&state.pool, caller.scope, query.state.as_deref(), request).await?.map(ImportBody::from)))
}

/// One import
#[utoipa::path(get, path = "/imports/{id}", operation_id = "get_import", tag = "imports", security(("bearer" = ["viewer"])),
    responses((status = 200, description = "The import", body = ImportBody)))]
async fn one(State(state): State<AppState>, caller: Caller, Path(id): Path<Uuid>) -> ApiResult<Json<ImportBody>> {
    Ok(Json(import::find(&state.pool, caller.scope, id).await?.into()))
}

/// Cancel an import
///
/// What was read stays.
#[utoipa::path(post, path = "/imports/{id}/cancel", operation_id = "cancel_import", tag = "imports", security(("bearer" = ["editor"])),
    responses((status = 200, description = "It is cancelled", body = ImportBody),
              (status = 202, description = "It runs, and stops after the part that it is at", body = ImportBody),
              (status = 409, description = "the import is finished")))]
async fn cancel(State(state): State<AppState>, caller: Editor, Path(id): Path<Uuid>) -> ApiResult<Located> {
    let import = import::cancel(&state.pool, caller.scope, id).await?;
    let status = if import.state == "cancelled" { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(located(status, import))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ErrorsQuery {
    page: Option<i64>,
    limit: Option<i64>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RefusedRow)]
struct ErrorBody {
    /// Of the file, counted from 1.
    #[schema(minimum = 1, example = 17)]
    line: i64,
    #[schema(example = "email")]
    column: String,
    #[schema(example = "is not an address")]
    reason: String,
    /// The row as it stood in the file.
    #[schema(example = "ann.example.com,Ann Example")]
    row: String,
}

impl From<StoredError> for ErrorBody {
    fn from(error: StoredError) -> Self {
        Self { line: error.line, column: error.column_name, reason: error.reason, row: error.row }
    }
}

/// Rows that were refused
///
/// All of them as CSV, or a page of them where `Accept` says `application/json`.
#[utoipa::path(get, path = "/imports/{id}/errors", operation_id = "list_import_errors", tag = "imports", security(("bearer" = ["viewer"])),
    params(ErrorsQuery), responses((status = 200, description = "The rows", content((String = "text/csv"), (Page<ErrorBody> = "application/json")))))]
async fn errors(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<ErrorsQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let request = PageRequest::new(query.page, query.limit)?;
    import::find(&state.pool, caller.scope, id).await?;
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("application/json") {
        return Ok(Json(row_errors::list(&state.pool, id, request).await?.map(ErrorBody::from)).into_response());
    }
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"import-{id}-errors.csv\"")),
    ];
    Ok((headers, Body::from_stream(row_errors::csv(state.pool.clone(), id))).into_response())
}
