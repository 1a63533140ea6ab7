//! Headers that every operation of a class takes and answers, and the parameters of every list.

use axum::http::Method;
use serde_json::{Value, json};

use super::{each_operation, levels};
use crate::{extract::CHOICES, front::classes as limits};

/// What is told with an `ETag`, and changed where `If-Match` says so.
const TAGGED: [&str; 13] = [
    "/api/v1/campaigns/{id}",
    "/api/v1/contacts/{id}",
    "/api/v1/destinations/{domain}",
    "/api/v1/destinations/{domain}/limits",
    "/api/v1/lists/{id}",
    "/api/v1/me",
    "/api/v1/routes/{id}",
    "/api/v1/sending",
    "/api/v1/sending-domains/{id}",
    "/api/v1/suppression-policy",
    "/api/v1/templates/{id}",
    "/api/v1/users/{id}",
    "/api/v1/workspaces/{id}",
];

/// Whether the thing at this path is told with an `ETag`.
pub fn is_tagged(path: &str) -> bool {
    TAGGED.contains(&path)
}

/// Whether a request may carry an `Idempotency-Key`, given that it needs credentials.
pub fn takes_key(path: &str, method: &Method) -> bool {
    method == Method::POST && !path.starts_with("/api/v1/auth/")
}

/// Adds them, each once under `components`.
pub fn add(document: &mut Value) {
    document["components"]["headers"] = json!({
        "X-Request-Id": {
            "description": "The request's own id if it was 1 to 128 visible ASCII characters, else a new one; the log has it.",
            "required": true,
            "schema": { "type": "string", "minLength": 1, "maxLength": 128, "example": "01936f2a-7c1e-7a3b-9c4d-5e6f70818294" },
        },
        "Location": {
            "description": "Where to look how far it is: a job, or the thing itself where nothing is left to do.",
            "required": true,
            "schema": { "type": "string", "format": "uri-reference", "example": "/api/v1/jobs/01936f2a-7c1e-7a3b-9c4d-5e6f70818295" },
        },
        "WWW-Authenticate": { "required": true, "schema": { "type": "string", "const": "Bearer realm=\"mochila\"" } },
        "ETag": {
            "description": "For `If-None-Match` and `If-Match`.",
            "required": true,
            "schema": { "type": "string", "pattern": "^\"[0-9a-f]+-[0-9a-f]{16}\"$", "example": "\"626b2f1e8a4c0-9f8e7d6c5b4a3210\"" },
        },
        "Idempotency-Replayed": {
            "description": "This is the answer of an earlier request with the same key.",
            "required": false,
            "schema": { "type": "string", "const": "true" },
        },
        "RateLimit-Limit": {
            "description": "Requests of this kind that the client may make in a minute.",
            "required": false,
            "schema": { "type": "integer", "minimum": 1, "example": 100 },
        },
        "RateLimit-Remaining": {
            "description": "Of them, those that are left.",
            "required": false,
            "schema": { "type": "integer", "minimum": 0, "example": 63 },
        },
        "RateLimit-Reset": {
            "description": "Seconds until the next minute.",
            "required": false,
            "schema": { "type": "integer", "minimum": 0, "maximum": 60, "example": 37 },
        },
        "Retry-After": {
            "description": "Seconds until requests are taken again.",
            "required": true,
            "schema": { "type": "integer", "minimum": 1, "example": 37 },
        },
    });
    let mut known = document["components"]["headers"]["Retry-After"].clone();
    known["required"] = false.into();
    document["components"]["headers"]["Retry-After-If-Known"] = known;
    document["components"]["parameters"] = json!({
        "RequestId": {
            "name": "X-Request-Id", "in": "header", "required": false,
            "description": "An id of the client's own for the request. One that is not 1 to 128 visible ASCII characters is replaced.",
            "schema": { "type": "string" }, "example": "order-66",
        },
        "WorkspaceId": {
            "name": "X-Workspace-Id", "in": "header", "required": false,
            "description": "The workspace to act in; only an admin may name another than its own.",
            "schema": { "type": "string", "format": "uuid" },
        },
        "IdempotencyKey": {
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "Makes a repeated request give the answer of the first, for 24 hours.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" }, "example": "9c4d5e6f-order-66",
        },
        "IfMatch": {
            "name": "If-Match", "in": "header", "required": false,
            "description": "The `ETag` of what is meant: where it has changed since, nothing is done.",
            "schema": { "type": "string" }, "example": "\"626b2f1e8a4c0-9f8e7d6c5b4a3210\"",
        },
        "IfNoneMatch": {
            "name": "If-None-Match", "in": "header", "required": false,
            "description": "The `ETag` of what is known: where it has not changed since, the answer is 304.",
            "schema": { "type": "string" }, "example": "\"626b2f1e8a4c0-9f8e7d6c5b4a3210\"",
        },
        "Page": {
            "name": "page", "in": "query", "required": false, "description": "Which page, counted from 1.",
            "schema": { "type": "integer", "format": "int64", "minimum": 1, "maximum": 1_000_000, "default": 1 },
        },
        "Limit": {
            "name": "limit", "in": "query", "required": false, "description": "Rows on a page.",
            "schema": { "type": "integer", "format": "int64", "minimum": 1, "maximum": 100, "default": 20 },
        },
    });
    for response in document["components"]["responses"].as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
        response["headers"]["X-Request-Id"] = reference("headers", "X-Request-Id");
    }
    each_operation(document, |path, method, operation| {
        let method: Method = method.to_uppercase().parse().unwrap_or_default();
        let class = Class {
            secured: !levels(operation).is_empty(),
            keyed: !levels(operation).is_empty() && takes_key(path, &method),
            tagged: is_tagged(path),
            reads: method == Method::GET,
            counted: limits::Class::of(&method, Some(path)) != limits::Class::Uncounted,
        };
        class.answers(operation);
        class.asks(operation);
    });
}

/// What the headers of an operation follow from.
struct Class {
    secured: bool,
    keyed: bool,
    tagged: bool,
    reads: bool,
    counted: bool,
}

impl Class {
    fn answers(&self, operation: &mut Value) {
        let Some(responses) = operation["responses"].as_object_mut() else { return };
        if self.tagged && self.reads {
            responses.insert("304".to_owned(), json!({ "description": "It is what `If-None-Match` names." }));
        }
        let slow = responses.get("202").is_some_and(|response| response.get("content").is_some());
        for (status, response) in responses {
            if response.get("$ref").is_some() {
                continue;
            }
            let located = slow && matches!(status.as_str(), "200" | "202");
            let names = [
                ("X-Request-Id", true),
                ("Location", located),
                ("ETag", self.tagged && matches!(status.as_str(), "200" | "304")),
                ("Idempotency-Replayed", self.keyed && status.starts_with('2')),
                ("RateLimit-Limit", self.counted),
                ("RateLimit-Remaining", self.counted),
                ("RateLimit-Reset", self.counted),
            ];
            for (name, _) in names.into_iter().filter(|(_, has)| *has) {
                response["headers"][name] = reference("headers", name);
            }
        }
    }

    fn asks(&self, operation: &mut Value) {
        if operation.get("parameters").is_none() {
            operation["parameters"] = json!([]);
        }
        let Some(parameters) = operation["parameters"].as_array_mut() else { return };
        for parameter in parameters.iter_mut().filter(|parameter| parameter["in"] == "query") {
            match parameter["name"].as_str() {
                Some("page") => *parameter = reference("parameters", "Page"),
                Some("limit") => *parameter = reference("parameters", "Limit"),
                Some(name) if CHOICES.contains(&name) => {
                    let choice = parameter["schema"].take();
                    parameter["schema"] = json!({ "anyOf": [choice, { "type": "string", "const": "", "description": "Any." }] });
                }
                _ => {}
            }
        }
        let names = [
            ("WorkspaceId", self.secured),
            ("IdempotencyKey", self.keyed),
            ("IfMatch", self.tagged && !self.reads),
            ("IfNoneMatch", self.tagged && self.reads),
            ("RequestId", true),
        ];
        parameters.extend(names.into_iter().filter(|(_, has)| *has).map(|(name, _)| reference("parameters", name)));
    }
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}
