//! Holds every request and answer of every test against the document: the status is declared, the body is what its schema says and has no
//! field that the schema does not know, and what was taken as input is what the document calls good.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
};

use axum::http::{HeaderMap, Method, StatusCode, header};
use jsonschema::Validator;
use mochila_api::openapi::document;
use serde_json::{Map, Value, json};

/// What is wrong with `value`, by this schema of the document.
pub fn faults(schema: &Value, value: &Value) -> impl Iterator<Item = String> {
    let told: Vec<String> =
        validator(schema).iter_errors(value).map(|error| format!("{} at {:?}", error, error.instance_path().as_str())).collect();
    told.into_iter()
}

/// The bodies that an operation takes and answers, by what they are.
pub fn contents(operation: &'static Value) -> Vec<(String, &'static Value)> {
    let request = operation.pointer("/requestBody/content").map(|content| ("request".to_owned(), content));
    let answers = operation["responses"].as_object().into_iter().flatten();
    let answers = answers.filter_map(|(status, told)| resolved(told).get("content").map(|content| (status.clone(), content)));
    request.into_iter().chain(answers).collect()
}

/// A request that was sent.
pub struct Sent<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// Panics where the answer is not one that the document promises.
pub fn check(sent: &Sent<'_>, status: StatusCode, headers: &HeaderMap, body: &[u8]) {
    let Some((template, operation)) = operation(sent.method, sent.path) else { return };
    let what = format!("{} {template} answered {status}", sent.method);
    let told = operation["responses"].get(status.as_str());
    let told =
        resolved(told.unwrap_or_else(|| panic!("{what}, which the document does not know: {}", String::from_utf8_lossy(body))));
    for (name, header) in told["headers"].as_object().into_iter().flatten() {
        let required = resolved(header)["required"] == true;
        assert!(!required || headers.contains_key(name), "{what} without {name}");
    }
    for name in [header::ETAG, header::LOCATION, header::RETRY_AFTER] {
        let knows =
            told["headers"].as_object().is_some_and(|known| known.keys().any(|known| known.eq_ignore_ascii_case(name.as_str())));
        assert!(knows || !headers.contains_key(&name), "{what} with {name}, which the document does not know");
    }
    if sent.method != Method::HEAD {
        answer(&what, told, headers, body);
    }
    if status.is_success() {
        taken(&what, operation, sent);
    }
}

fn answer(what: &str, told: &Value, headers: &HeaderMap, body: &[u8]) {
    let Some(content) = told.get("content") else {
        assert!(body.is_empty(), "{what} with a body, which the document does not know");
        return;
    };
    let kind = essence(headers);
    let told = content.get(&kind).unwrap_or_else(|| panic!("{what} with {kind:?}, which the document does not know"));
    if kind.ends_with("json") {
        let body: Value = serde_json::from_slice(body).unwrap_or_else(|error| panic!("{what}: {error}"));
        let faults: Vec<String> = faults(&told["schema"], &body).collect();
        assert!(faults.is_empty(), "{what}: {faults:#?}\n{body:#}");
    }
}

fn taken(what: &str, operation: &Value, sent: &Sent<'_>) {
    let kind = essence(sent.headers);
    let Some(schema) = operation.pointer("/requestBody/content").and_then(|content| content.get(&kind)?.get("schema")) else {
        return;
    };
    if kind.ends_with("json") {
        let body: Value = serde_json::from_slice(sent.body).expect("what was taken is JSON");
        let faults: Vec<String> = faults(schema, &body).collect();
        assert!(faults.is_empty(), "{what} to a body that the document calls wrong: {faults:#?}\n{body:#}");
    }
}

fn essence(headers: &HeaderMap) -> String {
    let kind = headers.get(header::CONTENT_TYPE).map_or("", |kind| kind.to_str().expect("ASCII"));
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The operation that answers; a literal step of the path goes before a parameter.
fn operation(method: &Method, path: &str) -> Option<(&'static str, &'static Value)> {
    let steps: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let wanted: Vec<&str> = template.split('/').collect();
        wanted.len() == steps.len() && wanted.iter().zip(&steps).all(|(wanted, step)| wanted.starts_with('{') || wanted == step)
    };
    let paths = document()["paths"].as_object()?.iter().filter(|(template, _)| fits(template));
    let (template, item) = paths.min_by_key(|(template, _)| template.matches('{').count())?;
    let method = if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_ascii_lowercase() };
    item.get(method).map(|operation| (template.as_str(), operation))
}

fn resolved(value: &'static Value) -> &'static Value {
    let to = value["$ref"].as_str().and_then(|to| to.strip_prefix('#'));
    to.map_or(value, |to| document().pointer(to).unwrap_or_else(|| panic!("{to} is not in the document")))
}

fn validator(schema: &Value) -> Arc<Validator> {
    static MADE: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    static CLOSED: LazyLock<Value> = LazyLock::new(|| closed(document()["components"]["schemas"].clone()));
    let mut made = MADE.lock().expect("nobody panicked");
    let validator = made.entry(schema.to_string()).or_insert_with(|| {
        let whole = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "allOf": [closed(schema.clone())],
            "components": { "schemas": CLOSED.clone() },
        });
        let options = jsonschema::options().should_validate_formats(true);
        Arc::new(options.build(&whole).unwrap_or_else(|error| panic!("{error}: {schema}")))
    });
    Arc::clone(validator)
}

/// The same schemas, but an object that names its fields has no others.
fn closed(mut schema: Value) -> Value {
    fn close(object: &mut Map<String, Value>) {
        if object.get("properties").is_some_and(Value::is_object) && !object.contains_key("additionalProperties") {
            object.insert("additionalProperties".to_owned(), false.into());
        }
        object.values_mut().for_each(enter);
    }
    fn enter(value: &mut Value) {
        match value {
            Value::Object(object) => close(object),
            Value::Array(items) => items.iter_mut().for_each(enter),
            _ => {}
        }
    }
    enter(&mut schema);
    schema
}
