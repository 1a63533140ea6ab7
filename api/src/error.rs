//! The one error of the front. Every answer that is not a success is a problem document (RFC 9457).

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use shared::error::{Error, FieldError};

use crate::request;

/// What handlers fail with.
#[derive(Debug)]
pub enum ApiError {
    /// The business refused or could not.
    Business(Error),
    /// 404: no route has this path.
    NoRoute(String),
    /// 405: the path does not know this method.
    NoMethod(String),
    /// 408: the body did not arrive.
    BodyLost(String),
    /// 415: the body is not what the route reads.
    MediaType(String),
    /// The front refused before any business was done: 408, 409, 412, 422, 429, 503.
    Refused(Refusal),
    /// 500: a handler panicked; the text is for the log.
    Panicked(String),
    /// 503: not able to work now, for the eyes of whoever runs this.
    Unavailable(String),
}

/// A refusal of the front.
#[derive(Debug)]
pub struct Refusal {
    /// 4xx, or 503.
    pub status: StatusCode,
    /// Why, for the client.
    pub detail: String,
    /// Seconds after which trying again makes sense.
    pub retry_after: Option<u64>,
}

impl ApiError {
    /// A refusal that stays one.
    pub fn refused(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::Refused(Refusal { status, detail: detail.into(), retry_after: None })
    }

    /// A refusal that passes after so many seconds.
    pub fn not_now(status: StatusCode, detail: impl Into<String>, retry_after: u64) -> Self {
        Self::Refused(Refusal { status, detail: detail.into(), retry_after: Some(retry_after) })
    }
}

/// What handlers answer.
pub type ApiResult<T> = Result<T, ApiError>;

impl<E: Into<Error>> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self::Business(error.into())
    }
}

/// The body of a problem document.
#[derive(Debug, Serialize)]
struct Problem {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    request_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

impl ApiError {
    /// What the answer's status is.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Business(error) => match error {
                Error::Invalid(_) => StatusCode::BAD_REQUEST,
                Error::Unauthorized(_) => StatusCode::UNAUTHORIZED,
                Error::Forbidden(_) => StatusCode::FORBIDDEN,
                Error::NotFound { .. } => StatusCode::NOT_FOUND,
                Error::Conflict(_) => StatusCode::CONFLICT,
                Error::Outdated(_) => StatusCode::PRECONDITION_FAILED,
                Error::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                Error::TooOften { .. } => StatusCode::TOO_MANY_REQUESTS,
                Error::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
                Error::Database(_) | Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Self::NoRoute(_) => StatusCode::NOT_FOUND,
            Self::NoMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyLost(_) => StatusCode::REQUEST_TIMEOUT,
            Self::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Refused(refusal) => refusal.status,
            Self::Panicked(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Business(Error::Invalid(errors)) => match errors.as_slice() {
                [one] => format!("{}: {}", one.field, one.message),
                many => format!("{} fields are wrong", many.len()),
            },
            Self::Business(Error::Database(_) | Error::Internal(_)) | Self::Panicked(_) => {
                "something failed on our side; it is logged under the request id".to_owned()
            }
            Self::Business(error) => error.to_string(),
            Self::Refused(refusal) => refusal.detail.clone(),
            Self::NoRoute(detail)
            | Self::NoMethod(detail)
            | Self::BodyLost(detail)
            | Self::MediaType(detail)
            | Self::Unavailable(detail) => detail.clone(),
        }
    }

    /// Logs what the client is not told. The one place that does.
    fn log(&self) {
        match self {
            Self::Business(error @ (Error::Database(_) | Error::Internal(_))) => {
                tracing::error!(error.full = whole(error), error.debug = ?error, request.id = request::id(), "a request failed");
            }
            Self::Panicked(message) => {
                tracing::error!(error.full = message, request.id = request::id(), "a handler panicked");
            }
            _ => {}
        }
    }
}

/// The error and all its causes in one line.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let status = self.status();
        let detail = self.detail();
        let (errors, retry_after) = match self {
            Self::Business(Error::Invalid(errors)) => (errors, None),
            Self::Business(Error::TooOften { retry_after_seconds, .. } | Error::Busy { retry_after_seconds, .. }) => {
                (Vec::new(), Some(retry_after_seconds))
            }
            Self::Refused(refusal) => (Vec::new(), refusal.retry_after),
            _ => (Vec::new(), None),
        };
        let title = status.canonical_reason().unwrap_or("Error");
        let problem = Problem { r#type: "about:blank", title, status: status.as_u16(), detail, request_id: request::id(), errors };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"mochila\""));
        }
        response
    }
}
