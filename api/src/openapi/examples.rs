//! An example of every body: what its type shows, or one put together from its fields.

use serde_json::{Map, Value, json};

use super::each_operation;

/// Adds an example to each JSON body that has none.
pub fn add(document: &mut Value) {
    let schemas = document["components"]["schemas"].clone();
    each_operation(document, |_, _, operation| {
        if let Some(content) = operation.pointer_mut("/requestBody/content") {
            show(content, &schemas);
        }
        for response in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            if let Some(content) = response.get_mut("content") {
                show(content, &schemas);
            }
        }
    });
}

fn show(content: &mut Value, schemas: &Value) {
    for (kind, told) in content.as_object_mut().into_iter().flatten() {
        let shown = told.get("example").is_some() || told.get("examples").is_some();
        if kind.ends_with("json") && !shown && told.get("schema").is_some() {
            told["example"] = of(&told["schema"], schemas);
        }
    }
}

/// What a value of this schema looks like.
fn of(schema: &Value, schemas: &Value) -> Value {
    if let Some(name) = schema["$ref"].as_str().and_then(|to| to.rsplit('/').next()) {
        return of(&schemas[name], schemas);
    }
    if let Some(given) = schema.get("example").or_else(|| schema["examples"].get(0)).or_else(|| schema.get("const")) {
        return given.clone();
    }
    if let Some(first) = schema["enum"].get(0).or_else(|| schema.get("default")) {
        return first.clone();
    }
    if let Some(choices) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
        let real = choices.iter().find(|choice| choice["type"] != "null");
        return real.map(|choice| of(choice, schemas)).unwrap_or_default();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"].get(0).and_then(Value::as_str));
    match kind.unwrap_or_default() {
        "object" => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            Value::Object(properties.map(|(name, field)| (name.clone(), of(field, schemas))).collect())
        }
        "array" => json!([of(&schema["items"], schemas)]),
        "boolean" => json!(false),
        "integer" => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        "number" => json!(1.5),
        "string" => match schema["format"].as_str().unwrap_or_default() {
            "uuid" => json!("01936f2a-7c1e-7a3b-9c4d-5e6f70818293"),
            "date-time" => json!("2026-03-09T08:30:00Z"),
            "date" => json!("2026-03-09"),
            "email" | "idn-email" => json!("ann@example.com"),
            _ => json!("text"),
        },
        _ => Value::Null,
    }
}
