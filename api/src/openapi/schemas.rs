//! Makes the shapes exact: pages are named after their rows, a flattened object is one object, and an answer has all its fields.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::each_operation;

const SCHEMAS: &str = "#/components/schemas/";

/// Fields that an answer may lack: they are left out where there is nothing to tell.
const LEFT_OUT: [(&str, &str); 0] = [];

/// Puts the schemas in order. `utoipa` cannot know that an absent `Option` of an answer is told as null.
pub fn make_exact(document: &mut Value) {
    name_pages(document);
    each_operation(document, |_, _, operation| may_be_absent(operation));
    for schema in schemas_of(document).values_mut() {
        keys_are_strings(schema);
    }
    flatten(schemas_of(document));
    let answers = answered(document);
    for (name, schema) in schemas_of(document) {
        if answers.contains(name) {
            require_all(name, schema);
        }
    }
    schemas_of(document).sort_keys();
}

fn schemas_of(document: &mut Value) -> &mut Map<String, Value> {
    let schemas = &mut document["components"]["schemas"];
    if !schemas.is_object() {
        *schemas = json!({});
    }
    match schemas {
        Value::Object(all) => all,
        _ => unreachable!("it was made an object"),
    }
}

/// `Page_List` becomes `ListPage`.
fn name_pages(document: &mut Value) {
    let renamed = |name: &str| name.strip_prefix("Page_").map(|rows| format!("{rows}Page"));
    let all = std::mem::take(schemas_of(document));
    *schemas_of(document) = all.into_iter().map(|(name, schema)| (renamed(&name).unwrap_or(name), schema)).collect();
    walk(document, &mut |object| {
        if let Some(name) = object.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix(SCHEMAS)).and_then(renamed) {
            object.insert("$ref".to_owned(), format!("{SCHEMAS}{name}").into());
        }
    });
}

/// A body that may be absent is not one that may be `null`.
fn may_be_absent(operation: &mut Value) {
    let Some(body) = operation.get_mut("requestBody") else { return };
    let Some(schema) = body.pointer_mut("/content/application~1json/schema") else { return };
    let Some([whole, null]) = schema["oneOf"].as_array().map(Vec::as_slice) else { return };
    if null["type"] == "null" {
        *schema = whole.clone();
        body["required"] = false.into();
    }
}

/// `propertyNames` says of a map that its keys are strings, which they always are.
fn keys_are_strings(schema: &mut Value) {
    walk(schema, &mut |object| {
        if object.get("propertyNames") == Some(&json!({ "type": "string" })) {
            object.remove("propertyNames");
        }
    });
}

/// `allOf` of objects, which is what a flattened field makes, becomes the one object that is meant.
fn flatten(schemas: &mut Map<String, Value>) {
    let before = schemas.clone();
    for schema in schemas.values_mut() {
        let Some(parts) = schema.get("allOf").and_then(Value::as_array).cloned() else { continue };
        let mut whole = json!({ "type": "object", "required": [], "properties": {} });
        if let Some(description) = schema.get("description") {
            whole["description"] = description.clone();
        }
        for part in parts {
            let part = match part["$ref"].as_str().and_then(|to| to.strip_prefix(SCHEMAS)) {
                Some(name) => before.get(name).cloned().unwrap_or_default(),
                None => part,
            };
            for (name, field) in part["properties"].as_object().into_iter().flatten() {
                whole["properties"][name] = field.clone();
            }
            if let (Some(required), Some(more)) = (whole["required"].as_array_mut(), part["required"].as_array()) {
                required.extend(more.iter().cloned());
            }
        }
        *schema = whole;
    }
}

/// Names of the schemas that answers are made of.
fn answered(document: &mut Value) -> BTreeSet<String> {
    let mut waiting = Vec::new();
    each_operation(document, |_, _, operation| referenced(&operation["responses"], &mut waiting));
    let mut found = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if found.insert(name.clone()) {
            referenced(&document["components"]["schemas"][&name], &mut waiting);
        }
    }
    found
}

fn referenced(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix(SCHEMAS)).map(str::to_owned));
            object.values().for_each(|value| referenced(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| referenced(value, found)),
        _ => {}
    }
}

fn require_all(name: &str, schema: &mut Value) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let told = properties.keys().filter(|field| !LEFT_OUT.contains(&(name, field.as_str())));
    schema["required"] = told.cloned().collect();
}

fn walk(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            change(object);
            object.values_mut().for_each(|value| walk(value, change));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| walk(value, change)),
        _ => {}
    }
}
