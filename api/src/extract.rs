//! `Json`, `Path` and `Query` whose rejections are problem documents that name the field and the value.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, MatchedPath, OptionalFromRequest, RawPathParams, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use shared::error::{Error, FieldError};

use crate::{error::ApiError, state::AppState};

/// A JSON body, in and out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json<T>(pub T);

/// A body of whatever kind, to its end.
#[derive(Clone, Debug)]
pub struct Whole(pub Bytes);

/// What a page's form sends, to its end.
#[derive(Clone, Debug)]
pub struct Form(pub Bytes);

/// The parameters of the path.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

/// The query string.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        check_media_type(request.headers(), "application/json", is_json)?;
        let body = Whole::from_request(request, state).await?.0;
        Ok(Self(from_json(&body)?))
    }
}

impl FromRequest<AppState> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let expected = "application/x-www-form-urlencoded";
        check_media_type(request.headers(), expected, |essence| essence == expected)?;
        Ok(Self(Whole::from_request(request, state).await?.0))
    }
}

/// Whether a body is what it must be, by its Content-Type without parameters.
///
/// # Errors
/// 415 names both.
pub fn check_media_type(headers: &HeaderMap, expected: &str, fits: impl Fn(&str) -> bool) -> Result<(), ApiError> {
    let Some(named) = headers.get(header::CONTENT_TYPE) else {
        return Err(ApiError::MediaType(format!("the body must be {expected}; there is no Content-Type")));
    };
    let named = String::from_utf8_lossy(named.as_bytes());
    let essence = named.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if fits(&essence) { Ok(()) } else { Err(ApiError::MediaType(format!("the body must be {expected}, not {}", shown(&named)))) }
}

impl FromRequest<AppState> for Whole {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let limit_bytes = largest(&request, state) as u64;
        Bytes::from_request(request, state).await.map(Self).map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::Business(Error::TooLarge { limit_bytes }),
            _ => ApiError::BodyLost("the body could not be read to its end".to_owned()),
        })
    }
}

/// Bytes that a body may have: messages bring their attachments along.
fn largest(request: &Request, state: &AppState) -> usize {
    match request.extensions().get::<MatchedPath>().map(MatchedPath::as_str) {
        Some("/api/v1/messages") => state.settings.api.max_message_bytes,
        _ => state.settings.api.max_body_bytes,
    }
}

/// `Option<Json<T>>`: a request without a Content-Type has no body.
impl<T: DeserializeOwned> OptionalFromRequest<AppState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Option<Self>, ApiError> {
        if request.headers().get(header::CONTENT_TYPE).is_none() {
            return Ok(None);
        }
        <Self as FromRequest<AppState>>::from_request(request, state).await.map(Some)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => ApiError::Business(Error::internal(error)).into_response(),
        }
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        use axum::extract::path::ErrorKind;
        if let Ok(parameters) = RawPathParams::from_request_parts(parts, state).await
            && let Some((key, _)) = parameters.iter().find(|(_, value)| value.contains('\0'))
        {
            return Err(no_nul(key).into());
        }
        #[expect(clippy::disallowed_types, reason = "this is the extractor that is used instead")]
        let extracted = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        let rejection = match extracted {
            Ok(path) => return Ok(Self(path.0)),
            Err(axum::extract::rejection::PathRejection::FailedToDeserializePathParams(rejection)) => rejection.into_kind(),
            Err(other) => return Err(Error::internal(other).into()),
        };
        let (key, value) = match &rejection {
            ErrorKind::ParseErrorAtKey { key, value, .. } | ErrorKind::DeserializeError { key, value, .. } => {
                (key.clone(), value.clone())
            }
            ErrorKind::InvalidUtf8InPathParam { key } => return Err(Error::invalid(key, "is not UTF-8").into()),
            ErrorKind::UnsupportedType { .. } | ErrorKind::WrongNumberOfParameters { .. } => {
                return Err(Error::internal(rejection).into());
            }
            _ => wrong_parameter(parts, state).await,
        };
        Err(Error::invalid(key, format!("{} is not a UUID", shown(&value))).into())
    }
}

/// The parameter that is to blame where axum does not say which: every id in our paths is a UUID, so the first one that is not.
async fn wrong_parameter(parts: &mut Parts, state: &AppState) -> (String, String) {
    let Ok(parameters) = RawPathParams::from_request_parts(parts, state).await else {
        return ("id".to_owned(), String::new());
    };
    let wrong = parameters.iter().find(|(_, value)| value.parse::<uuid::Uuid>().is_err());
    wrong.map_or_else(|| ("id".to_owned(), String::new()), |(key, value)| (key.to_owned(), value.to_owned()))
}

impl<T: DeserializeOwned> FromRequestParts<AppState> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        Ok(Self(from_query(parts.uri.query().unwrap_or_default())?))
    }
}

fn is_json(essence: &str) -> bool {
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    // serde would read the items of an array as the fields in their order.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Error::invalid("body", "must be a JSON object, not an array"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let error = match serde_path_to_error::deserialize(&mut deserializer) {
        Ok(value) => {
            deserializer.end().map_err(|error| Error::invalid("body", format!("is not JSON: {error}")))?;
            return match nul_within(body) {
                Some(field) => Err(no_nul(&field)),
                None => Ok(value),
            };
        }
        Err(error) => error,
    };
    let (path, inner) = (error.path().to_string(), error.into_inner());
    if !inner.is_data() {
        return Err(Error::invalid("body", format!("is not JSON: {inner}")));
    }
    // The position in the text says less than the field's name does.
    let text = inner.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    let whole: Value = serde_json::from_slice(body).unwrap_or_default();
    Err(Error::Invalid(vec![blame(&path, message, |field| at(&whole, field).map(Value::to_string))]))
}

/// What a form with a choice "any" sends as `state=`: no filter.
pub(crate) const CHOICES: [&str; 3] = ["state", "kind", "lane"];

fn from_query<T: DeserializeOwned>(query: &str) -> Result<T, Error> {
    let pairs: Vec<(String, String)> = url_pairs(query).into_owned().collect();
    if let Some((field, _)) = pairs.iter().find(|(_, value)| value.contains('\0')) {
        return Err(no_nul(field));
    }
    let given = pairs.iter().filter(|(name, value)| !(value.is_empty() && CHOICES.contains(&name.as_str())));
    let given = form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(url_pairs(&given))).map_err(|error| {
        let (path, message) = (error.path().to_string(), error.inner().to_string());
        let value = |field: &str| pairs.iter().find(|(name, _)| name == field).map(|(_, value)| format!("{value:?}"));
        Error::Invalid(vec![blame(&path, &message, value)])
    })
}

/// PostgreSQL stores no NUL in a text.
fn no_nul(field: &str) -> Error {
    Error::invalid(field, "holds a NUL character")
}

/// The field that holds a NUL, if one does. In JSON it can only stand there as an escape, which is looked for first.
fn nul_within(body: &[u8]) -> Option<String> {
    body.windows(6)
        .any(|window| window == b"\\u0000")
        .then(|| serde_json::from_slice(body).ok())
        .flatten()
        .and_then(|whole| nul_at(&whole, ""))
}

fn nul_at(value: &Value, path: &str) -> Option<String> {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::String(text) if text.contains('\0') => Some(if path.is_empty() { "body".to_owned() } else { path.to_owned() }),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| nul_at(item, &format!("{path}[{index}]"))),
        Value::Object(fields) => fields.iter().find_map(|(key, item)| {
            if key.contains('\0') { Some(below(&key.replace('\0', "\\0"))) } else { nul_at(item, &below(key)) }
        }),
        _ => None,
    }
}

fn url_pairs(query: &str) -> form_urlencoded::Parse<'_> {
    form_urlencoded::parse(query.as_bytes())
}

/// Turns serde's words into ours: the field's whole path, and its value unless the words hold it.
fn blame(path: &str, message: &str, value: impl Fn(&str) -> Option<String>) -> FieldError {
    let quoted = message.split('`').nth(1);
    let child = |name: &str| if matches!(path, "." | "" | "?") { name.to_owned() } else { format!("{path}.{name}") };
    if let (true, Some(name)) = (message.starts_with("missing field"), quoted) {
        return FieldError::new(child(name), "is required");
    }
    if let (true, Some(name)) = (message.starts_with("unknown field"), quoted) {
        let field = if path.rsplit('.').next() == Some(name) { path.to_owned() } else { child(name) };
        let known = message.split_once(", ").map_or("", |(_, known)| known);
        return FieldError::new(field, format!("is not a known field; {known}"));
    }
    if let (true, Some(name)) = (message.starts_with("duplicate field"), quoted) {
        return FieldError::new(child(name), "stands there twice");
    }
    let field = if matches!(path, "." | "" | "?") { "body" } else { path };
    let words = match message {
        "invalid digit found in string" | "cannot parse integer from empty string" => "must be a whole number",
        other => other,
    };
    match value(field) {
        Some(value) if words.starts_with("UUID parsing failed") => FieldError::new(field, format!("{} is not a UUID", cut(&value))),
        Some(value) if !words.contains(value.trim_matches('"')) => FieldError::new(field, format!("{words}, not {}", cut(&value))),
        _ => FieldError::new(field, words),
    }
}

/// The value at a path like `from.email` or `list_ids[1]`.
fn at<'a>(whole: &'a Value, path: &str) -> Option<&'a Value> {
    path.split(['.', '[']).map(|step| step.trim_end_matches(']')).filter(|step| !step.is_empty()).try_fold(whole, |value, step| {
        match value {
            Value::Array(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
            other => other.get(step),
        }
    })
}

fn shown(value: &str) -> String {
    cut(&format!("{value:?}"))
}

fn cut(value: &str) -> String {
    const LONGEST: usize = 100;
    if value.chars().count() <= LONGEST { value.to_owned() } else { value.chars().take(LONGEST).chain("…".chars()).collect() }
}
