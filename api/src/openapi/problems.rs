//! The refusals that follow from what an operation is: from its credentials, its parameters and its body.

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::{each_operation, headers, levels};
use crate::front::classes::Class;

const PROBLEM: &str = "application/problem+json";

/// A status, the name of its response, when it is answered, and the `detail` of an example.
struct Refusal {
    status: u16,
    name: &'static str,
    when: &'static str,
    detail: &'static str,
}

const REFUSALS: [Refusal; 13] = [
    Refusal {
        status: 400,
        name: "BadRequest",
        when: "The path, the query, a header or the body is wrong; `errors` names the fields.",
        detail: "name: must have 1 to 200 characters, not 201",
    },
    Refusal { status: 401, name: "Unauthorized", when: "No credentials, or expired ones.", detail: "an access token is needed" },
    Refusal {
        status: 403,
        name: "Forbidden",
        when: "It belongs to another workspace, or the caller's level is too low.",
        detail: "list 01936f2a-7c1e-7a3b-9c4d-5e6f70818293 is not yours",
    },
    Refusal {
        status: 404,
        name: "NotFound",
        when: "It does not exist.",
        detail: "list 01936f2a-7c1e-7a3b-9c4d-5e6f70818293 does not exist",
    },
    Refusal {
        status: 408,
        name: "RequestTimeout",
        when: "The body did not arrive.",
        detail: "the body could not be read to its end",
    },
    Refusal {
        status: 409,
        name: "KeyBusy",
        when: "Another request with this `Idempotency-Key` is being worked on; `Retry-After` says when to ask again.",
        detail: "a request with this Idempotency-Key is being worked on",
    },
    Refusal {
        status: 412,
        name: "PreconditionFailed",
        when: "It is no longer what `If-Match` names.",
        detail: "list 01936f2a-7c1e-7a3b-9c4d-5e6f70818293 is no longer what If-Match names: read it again",
    },
    Refusal {
        status: 413,
        name: "PayloadTooLarge",
        when: "The body is larger than the settings allow.",
        detail: "the body is larger than 10485760 bytes",
    },
    Refusal {
        status: 415,
        name: "UnsupportedMediaType",
        when: "The body is not of the type that is read here.",
        detail: "the body must be application/json, not \"text/plain\"",
    },
    Refusal {
        status: 422,
        name: "KeyUsed",
        when: "This `Idempotency-Key` was used for another request within the last 24 hours.",
        detail: "this Idempotency-Key was used for another request within the last 24 hours",
    },
    Refusal {
        status: 429,
        name: "TooManyRequests",
        when: "Too many requests in this minute; `Retry-After` says when to come again.",
        detail: "more than 100 requests of this kind in a minute; the next minute begins in 37 s",
    },
    Refusal {
        status: 500,
        name: "InternalServerError",
        when: "Something failed on our side; it is logged under the request id.",
        detail: "something failed on our side; it is logged under the request id",
    },
    Refusal {
        status: 503,
        name: "ServiceUnavailable",
        when: "Not able to work now.",
        detail: "PostgreSQL is down: connection refused",
    },
];

/// Adds the shape of a problem, a response for each status, and to each operation those that it can give.
pub fn add(document: &mut Value) {
    document["components"]["schemas"]["Problem"] = problem();
    document["components"]["schemas"]["FieldError"] = field_error();
    document["components"]["securitySchemes"] = json!({
        "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "The access token of `POST /auth/login`." },
    });
    for refusal in REFUSALS {
        document["components"]["responses"][refusal.name] = response(refusal.status, refusal.when, refusal.detail);
    }
    each_operation(document, |path, method, operation| {
        let method = method.to_uppercase().parse().unwrap_or_default();
        let statuses = class(path, &method, operation);
        let Some(responses) = operation["responses"].as_object_mut() else { return };
        own(responses);
        for refusal in REFUSALS.iter().filter(|refusal| statuses.contains(&refusal.status)) {
            let shared = json!({ "$ref": format!("#/components/responses/{}", refusal.name) });
            let told = responses.entry(refusal.status.to_string()).or_insert(shared);
            // A page for people tells them what is wrong in their form; what is wrong in the query is a problem there, too.
            if refusal.status == 400 && told.get("$ref").is_none() && told["content"].get(PROBLEM).is_none() {
                told["content"][PROBLEM] = response(400, refusal.when, refusal.detail)["content"][PROBLEM].clone();
            }
        }
        responses.sort_keys();
    });
}

/// What every operation of this class can answer.
fn class(path: &str, method: &Method, operation: &Value) -> Vec<u16> {
    let secured = !levels(operation).is_empty();
    let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
    let in_path = parameters.iter().any(|parameter| parameter["in"] == "path");
    let body = operation.get("requestBody").is_some();
    let mut statuses = vec![500, 503];
    if secured || body || !parameters.is_empty() {
        statuses.push(400);
    }
    if secured {
        statuses.extend([401, 403]);
    }
    // The workspace that `X-Workspace-Id` names may be missing, too.
    if secured || in_path {
        statuses.push(404);
    }
    if body {
        statuses.extend([408, 413, 415]);
    }
    if secured && headers::takes_key(path, method) {
        // With a key the body is read even where nobody asks for one.
        statuses.extend([408, 409, 413, 422]);
    }
    if headers::is_tagged(path) && method != Method::GET {
        statuses.push(412);
    }
    if Class::of(method, Some(path)) != Class::Uncounted {
        statuses.push(429);
    }
    statuses
}

/// An operation says of its own refusals only when they come: their shape is that of all others.
fn own(responses: &mut Map<String, Value>) {
    for (status, told) in responses {
        let Ok(status) = status.parse::<u16>() else { continue };
        if status >= 400 && told.get("content").is_none() {
            let when = told["description"].as_str().unwrap_or_default().to_owned();
            *told = response(status, &when, &when);
        }
    }
}

fn response(status: u16, when: &str, detail: &str) -> Value {
    let mut example = json!({
        "type": "about:blank",
        "title": StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error"),
        "status": status,
        "detail": detail,
        "request_id": "01936f2a-7c1e-7a3b-9c4d-5e6f70818294",
    });
    if let (400, Some((field, message))) = (status, detail.split_once(": ")) {
        example["errors"] = json!([{ "field": field, "message": message }]);
    }
    let mut response = json!({
        "description": when,
        "content": { PROBLEM: { "schema": { "$ref": "#/components/schemas/Problem" }, "example": example } },
    });
    match status {
        401 => response["headers"]["WWW-Authenticate"] = json!({ "$ref": "#/components/headers/WWW-Authenticate" }),
        429 => response["headers"]["Retry-After"] = json!({ "$ref": "#/components/headers/Retry-After" }),
        // A request with the same key is waited for; what else is in the way stays there.
        409 | 503 => response["headers"]["Retry-After"] = json!({ "$ref": "#/components/headers/Retry-After-If-Known" }),
        _ => {}
    }
    response
}

fn problem() -> Value {
    json!({
        "type": "object",
        "description": "Why a request was refused (RFC 9457).",
        "required": ["type", "title", "status", "detail", "request_id"],
        "properties": {
            "type": { "type": "string", "format": "uri-reference", "description": "`about:blank`: the status says it all.", "example": "about:blank" },
            "title": { "type": "string", "description": "The status in words.", "example": "Bad Request" },
            "status": { "type": "integer", "format": "int32", "minimum": 400, "maximum": 599, "example": 400 },
            "detail": { "type": "string", "description": "What is wrong, with the value where it helps.", "example": "page: must be between 1 and 1000000, not 0" },
            "request_id": { "type": "string", "minLength": 1, "maxLength": 128, "description": "The same as in `X-Request-Id`; the log has it, too.",
                            "example": "01936f2a-7c1e-7a3b-9c4d-5e6f70818294" },
            "errors": { "type": "array", "minItems": 1, "items": { "$ref": "#/components/schemas/FieldError" }, "description": "Field by field, where input is wrong." },
        },
    })
}

fn field_error() -> Value {
    json!({
        "type": "object",
        "description": "What is wrong with one field.",
        "required": ["field", "message"],
        "properties": {
            "field": { "type": "string", "description": "Path of the field.", "example": "page" },
            "message": { "type": "string", "description": "What is wrong with it.", "example": "must be between 1 and 1000000, not 0" },
        },
    })
}
