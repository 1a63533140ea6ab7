//! The document of the front: what every operation takes and answers, put together from what stands above the handlers.
//!
//! A handler says what is its own (summary, level, success, conflicts). What follows from the class of an operation is added here, once:
//! [`problems`] adds the refusals, [`headers`] the headers, [`schemas`] makes the shapes exact, [`examples`] shows each of them, and
//! [`page`] is the page for people. [`words`] has the enumerations that are constants in `shared`.

use std::sync::LazyLock;

use serde_json::{Value, json};

pub mod examples;
pub mod headers;
pub mod page;
pub mod problems;
pub mod schemas;
pub mod words;

/// Where the document is served.
pub const ADDRESS: &str = "/api/v1/openapi.json";

/// The domains in the order in which a newcomer meets them. The tag of an operation is one of these.
const TAGS: [(&str, &str); 15] = [
    ("accounts", "Log in, who am I, workspaces and the people in them."),
    ("contacts", "Whom a workspace writes to. An address is there once in a workspace."),
    ("lists", "Lists and who is on them."),
    ("imports", "CSV files on their way into a list: upload, progress, the rows that were refused."),
    ("suppressions", "Addresses and domains that get no mail, whatever a campaign says."),
    ("feedback", "What comes back over HTTP: who may tell of bounces and complaints, and where they post."),
    ("sending-domains", "Where mail comes from: claim a domain, publish its records, have it verified."),
    ("campaigns", "Write a campaign, send it, pause it, look how far it is."),
    ("deliveries", "What became of each recipient of a campaign."),
    ("messages", "Transactional mail: one message to one person, with what became of it, and the templates of such messages."),
    ("jobs", "Everything slow is a job: poll it, cancel it, run it again."),
    ("routes", "The relays that mail leaves by."),
    ("destinations", "What an operator sees and sets of a recipient domain."),
    ("sending", "The switch that holds all mail back, and the confirmation of a restored copy."),
    ("service", "Whether it works, what recipients see, and this document."),
];

/// The OpenAPI 3.1 document. It depends on the build alone.
#[must_use]
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(assemble);
    &DOCUMENT
}

/// Every operation of a document: path, method in capitals, operation.
pub fn operations(document: &Value) -> impl Iterator<Item = (&str, String, &Value)> {
    document["paths"].as_object().into_iter().flatten().flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten().filter(|(method, _)| is_method(method));
        methods.map(move |(method, operation)| (path.as_str(), method.to_uppercase(), operation))
    })
}

/// The levels that an operation asks for, e.g. `viewer`; none for those that are open.
#[must_use]
pub fn levels(operation: &Value) -> Vec<&str> {
    let named = operation["security"].as_array().into_iter().flatten().filter_map(|one| one["bearer"].as_array());
    named.flatten().filter_map(Value::as_str).collect()
}

fn is_method(name: &str) -> bool {
    matches!(name, "get" | "put" | "post" | "delete" | "options" | "head" | "patch" | "trace")
}

fn each_operation(document: &mut Value, mut change: impl FnMut(&str, &str, &mut Value)) {
    for (path, item) in document["paths"].as_object_mut().into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten().filter(|(method, _)| is_method(method)) {
            change(path, method, operation);
        }
    }
}

fn assemble() -> Value {
    let mut document = serde_json::to_value(crate::routes::described()).unwrap_or_default();
    document["info"] = json!({
        "title": "Mochila",
        "version": env!("CARGO_PKG_VERSION"),
        "summary": "Self-hosted e-mail campaigns",
        "description": ABOUT,
        "license": { "name": "Apache License 2.0", "identifier": "Apache-2.0" },
    });
    document["servers"] = json!([{ "url": "/", "description": "This server" }]);
    let tags = TAGS.iter().map(|(name, description)| json!({ "name": name, "description": description }));
    document["tags"] = tags.collect();
    name_each_once(&mut document);
    schemas::make_exact(&mut document);
    problems::add(&mut document);
    headers::add(&mut document);
    examples::add(&mut document);
    document
}

/// What is served under two addresses is one handler, but needs two names.
fn name_each_once(document: &mut Value) {
    each_operation(document, |path, _, operation| {
        if matches!(path, "/health" | "/ready") {
            operation["operationId"] = format!("{}_at_root", operation["operationId"].as_str().unwrap_or_default()).into();
        }
    });
}

const ABOUT: &str = "\
Everything under `/api/v1` speaks JSON. Log in at `POST /api/v1/auth/login` and send the access token as `Authorization: Bearer …`.

- **Levels.** Each operation names the level that it asks for: `viewer` reads; `editor` also writes contacts, lists, imports, campaigns, messages \
and suppressions; `owner` also manages the workspace; `admin` may everything, in its own workspace unless `X-Workspace-Id` names another.
- **Lists** come in pages, newest first: `?page=1&limit=20`.
- **Slow work** answers 202 with the address of a job in `Location`; poll it.
- **Refusals** are problem documents (RFC 9457). An id that does not exist is a 404, one that belongs to another workspace a 403.";
