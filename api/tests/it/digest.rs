//! The document in the fewest lines that show every change that a client would feel.

use std::fmt::Write;

use mochila_api::openapi::{document, levels, operations};
use serde_json::Value;

/// One paragraph an operation, then one a schema.
pub fn of_the_document() -> String {
    let mut text = String::new();
    for (path, method, operation) in operations(document()) {
        let level = levels(operation).first().copied().unwrap_or("open");
        writeln!(text, "{method} {path} · {} · {level}", word(&operation["operationId"])).expect("memory");
        let parameters = operation["parameters"].as_array().expect("parameters").iter().map(resolved);
        let parameters: Vec<String> =
            parameters.map(|one| format!("{} {} {}", word(&one["in"]), named(one), kind(&one["schema"]))).collect();
        writeln!(text, "  takes {}", parameters.join(", ")).expect("memory");
        if let Some(body) = operation.get("requestBody") {
            writeln!(text, "  body {}", contents(&body["content"])).expect("memory");
        }
        let (mut plain, answers) = (Vec::new(), operation["responses"].as_object().expect("responses"));
        for (status, told) in answers {
            let told = resolved(told);
            match told.get("content").map(contents) {
                Some(content) if content != "application/problem+json Problem" => {
                    writeln!(text, "  {status} {content}{}", headers(told)).expect("memory");
                }
                _ => plain.push(format!("{status}{}", headers(told))),
            }
        }
        writeln!(text, "  {}\n", plain.join(" ")).expect("memory");
    }
    for (name, schema) in document()["components"]["schemas"].as_object().expect("schemas") {
        let closed = if schema["additionalProperties"] == false { ", and nothing else" } else { "" };
        writeln!(text, "{name}: {}{closed}", kind(schema)).expect("memory");
        let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            let mark = if required.contains(&field.as_str()) { "" } else { "?" };
            writeln!(text, "  {field}{mark} {}", kind(schema)).expect("memory");
        }
    }
    text
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn named(parameter: &Value) -> String {
    format!("{}{}", word(&parameter["name"]), if parameter["required"] == true { "" } else { "?" })
}

/// Those headers that not every answer has.
fn headers(told: &Value) -> String {
    let names = told["headers"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let names: Vec<&str> = names.filter(|name| *name != "X-Request-Id" && !name.starts_with("RateLimit-")).collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}

fn contents(content: &Value) -> String {
    let kinds = content.as_object().into_iter().flatten().map(|(kind_of, told)| format!("{kind_of} {}", kind(&told["schema"])));
    kinds.collect::<Vec<_>>().join(", ")
}

fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|to| to.rsplit('/').next()) {
        return name.to_owned();
    }
    if let Some(choices) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
        return choices.iter().map(kind).collect::<Vec<_>>().join(" | ");
    }
    if let Some(only) = schema.get("const") {
        return only.to_string();
    }
    let mut text = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(word).collect::<Vec<_>>().join(" | "),
        one => word(one).to_owned(),
    };
    if let Some(words) = schema["enum"].as_array() {
        text = words.iter().map(Value::to_string).collect::<Vec<_>>().join(" | ");
    }
    if let Some(items) = schema.get("items") {
        write!(text, " of {}", kind(items)).expect("memory");
    }
    let said = [
        "format",
        "pattern",
        "minLength",
        "maxLength",
        "minimum",
        "exclusiveMinimum",
        "maximum",
        "minItems",
        "maxItems",
        "default",
    ];
    for name in said {
        if let Some(value) = schema.get(name) {
            write!(text, " {name} {value}").expect("memory");
        }
    }
    text
}

fn resolved(value: &'static Value) -> &'static Value {
    let to = value["$ref"].as_str().and_then(|to| to.strip_prefix('#'));
    to.map_or(value, |to| document().pointer(to).expect("it is in the document"))
}
