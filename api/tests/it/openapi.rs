//! The document says of itself what it must.

use std::collections::BTreeSet;

use axum::http::{Method, header};
use mochila_api::openapi::{self, document, operations};
use serde_json::Value;

use crate::{app::TestApp, contract, digest};

fn names(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn every_operation_has_a_name_of_its_own_a_summary_and_a_known_tag() {
    let document = document();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{}", document["openapi"]);
    let tags: BTreeSet<&str> = document["tags"].as_array().expect("tags").iter().filter_map(|tag| tag["name"].as_str()).collect();
    let mut seen = BTreeSet::new();
    for (path, method, operation) in operations(document) {
        let name = operation["operationId"].as_str().expect("a name");
        assert!(seen.insert(name), "{name} is there twice");
        assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{method} {path} has no summary");
        let own = names(&operation["tags"]);
        assert!(own.len() == 1 && tags.contains(own[0]), "{method} {path}: {own:?}");
        for level in openapi::levels(operation) {
            assert!(["viewer", "editor", "owner", "admin"].contains(&level), "{method} {path}: {level}");
        }
    }
}

#[test]
fn what_a_client_would_feel_of_a_change_is_seen() {
    insta::assert_snapshot!(digest::of_the_document());
}

/// Each `(what, where)` of the document, from the top down.
fn everything<'a>(value: &'a Value, at: String, found: &mut Vec<(&'a Value, String)>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| everything(value, format!("{at}/{name}"), found)),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| everything(item, format!("{at}/{index}"), found)),
        _ => {}
    }
    found.push((value, at));
}

#[test]
fn every_reference_leads_somewhere_and_every_example_shows_something() {
    let mut found = Vec::new();
    everything(document(), String::new(), &mut found);
    for (value, at) in found {
        if let Some(to) = value.as_str().and_then(|text| text.strip_prefix('#')).filter(|_| at.ends_with("/$ref")) {
            assert!(document().pointer(to).is_some(), "{at} leads to {to}, where nothing is");
        }
        assert!(value != "text" || !at.contains("/example"), "{at}: a string that nobody gave an example");
    }
}

#[test]
fn a_schema_has_a_name_of_its_own() {
    let mut names: Vec<String> = Vec::new();
    for folder in ["api/src", "shared/src"] {
        named(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join(folder), &mut names);
    }
    assert!(names.len() > 50, "{names:?}");
    names.sort();
    let twice: Vec<&str> = names.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0].as_str()).collect();
    assert_eq!(twice, Vec::<&str>::new(), "of two schemas of one name the document has one: #[schema(as = …)]");
}

/// Names of all types that derive `ToSchema`, by `as` or by their own.
fn named(folder: &std::path::Path, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            named(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).expect("a source");
            for after in source.split("ToSchema)]").skip(1) {
                let head = after.split_once('{').map_or("", |(head, _)| head);
                let own =
                    head.split_once("#[schema(as = ").or_else(|| head.rsplit_once("struct ")).or_else(|| head.rsplit_once("enum "));
                let name = own.expect("a name").1;
                names.push(name.chars().take_while(|c| c.is_alphanumeric()).collect());
            }
        }
    }
}

#[test]
fn every_example_is_what_its_schema_says() {
    let mut wrong = Vec::new();
    for (path, method, operation) in operations(document()) {
        for (what, content) in contract::contents(operation) {
            for (kind, told) in content.as_object().expect("media types").iter().filter(|(kind, _)| kind.ends_with("json")) {
                let Some(example) = told.get("example") else {
                    wrong.push(format!("{method} {path} {what} {kind}: no example"));
                    continue;
                };
                wrong.extend(contract::faults(&told["schema"], example).map(|fault| format!("{method} {path} {what}: {fault}")));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_body_that_is_taken_has_no_room_for_unknown_fields() {
    let document = document();
    for (path, method, operation) in operations(document) {
        let Some(schema) = operation.pointer("/requestBody/content/application~1json/schema") else { continue };
        let name = schema["$ref"].as_str().and_then(|to| to.rsplit('/').next());
        let schema = name.map_or(schema, |name| &document["components"]["schemas"][name]);
        assert_eq!(schema["additionalProperties"], false, "{method} {path}: {schema}");
    }
}

#[tokio::test]
async fn the_document_is_served_without_credentials_and_the_page_loads_nothing_from_elsewhere() {
    let app = TestApp::new().await;
    assert_eq!(&app.bare(Method::GET, openapi::ADDRESS).await.expect(200), document());
    let to = app.bare(Method::GET, "/docs").await;
    assert_eq!((to.status.as_u16(), &to.headers[header::LOCATION]), (308, &header::HeaderValue::from_static("/docs/")));
    let page = app.bare(Method::GET, "/docs/").await;
    assert_eq!((page.status.as_u16(), &page.headers[header::CONTENT_TYPE]), (200, &header::HeaderValue::from_static("text/html")));
    assert!(
        page.headers[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .expect("ASCII")
            .starts_with("default-src 'none'; script-src 'self';")
    );
    let html = String::from_utf8(page.body).expect("UTF-8");
    let sources: Vec<&str> = html.split(['"']).filter(|piece| piece.starts_with("./") || piece.contains("//")).collect();
    assert!(sources.len() > 4, "{html}");
    for source in sources {
        let name = source.strip_prefix("./").unwrap_or_else(|| panic!("{source} is elsewhere"));
        assert_eq!(app.bare(Method::GET, &format!("/docs/{name}")).await.status, 200, "{name}");
    }
    let starter = app.bare(Method::GET, "/docs/swagger-initializer.js").await;
    let starter = String::from_utf8(starter.body).expect("UTF-8");
    assert!(
        starter.contains(openapi::ADDRESS) && starter.contains(r#""validatorUrl": "none""#) && !starter.contains("https:"),
        "{starter}"
    );
    app.bare(Method::GET, "/docs/nothing.js").await.problem(404);
}
