//! `/docs`, the document as a page to read and try, and the document itself. Nothing is loaded from elsewhere: the page's files are in the
//! binary, [`crate::front::headers`] forbids other origins, and the validator that Swagger UI would ask is switched off.

use std::sync::{Arc, LazyLock};

use axum::{
    Router,
    extract::OriginalUri,
    http::header,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use shared::error::Error;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::Config;

use crate::{
    error::{ApiError, ApiResult},
    extract::Path,
    state::AppState,
};

/// `/openapi.json`, which needs no database.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(openapi))
}

/// `/docs`.
pub fn pages() -> Router<AppState> {
    Router::new()
        .route("/docs", get(async || Redirect::permanent("/docs/")))
        .route("/docs/", get(async || file("index.html")))
        .route("/docs/{file}", get(async |uri: OriginalUri, Path(name): Path<String>| file(&name).map_err(|_| nothing(&uri))))
}

/// This document
///
/// OpenAPI 3.1, for people at `/docs`.
#[utoipa::path(get, path = "/openapi.json", operation_id = "get_openapi", tag = "service",
    responses((status = 200, description = "The document", content_type = "application/json", body = Object,
               example = json!({ "openapi": "3.1.0", "info": { "title": "Mochila" } }))))]
async fn openapi() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| super::document().to_string());
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

fn file(name: &str) -> ApiResult<Response> {
    static CONFIG: LazyLock<Arc<Config>> = LazyLock::new(|| {
        let config = Config::new([super::ADDRESS]).validator_url("none").deep_linking(true).display_request_duration(true);
        Arc::new(config.persist_authorization(false).use_base_layout())
    });
    let found = utoipa_swagger_ui::serve(name, CONFIG.clone()).map_err(Error::internal)?;
    let found = found.ok_or_else(|| Error::not_found("page", name))?;
    Ok(([(header::CONTENT_TYPE, found.content_type)], found.bytes.into_owned()).into_response())
}

fn nothing(uri: &OriginalUri) -> ApiError {
    ApiError::NoRoute(format!("there is nothing at {}", uri.path()))
}
