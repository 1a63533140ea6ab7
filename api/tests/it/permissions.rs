//! Who may do what. Both tests read the document, so that an operation that is added is asked too: the table must be looked at again, and
//! whatever takes an id must say here which one is somebody else's.

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use mochila_api::openapi::{self, document, operations};
use serde_json::{Value, json};
use shared::accounts::level::Level;
use uuid::Uuid;

use crate::{
    app::{Answer, Person, TestApp},
    shop::{Shop, text},
};

const CALLERS: [&str; 5] = ["nobody", "viewer", "editor", "owner", "admin"];

/// Somebody new of this rank: one who has just logged out cannot ask again.
async fn caller(app: &TestApp, rank: usize, workspace_id: Uuid) -> Option<Person> {
    match CALLERS[rank] {
        "viewer" => Some(app.member(workspace_id, Level::Viewer).await),
        "editor" => Some(app.member(workspace_id, Level::Editor).await),
        "owner" => Some(app.member(workspace_id, Level::Owner).await),
        "admin" => Some(app.admin().await),
        _ => None,
    }
}

/// Sends a body that says nothing where the operation takes one.
async fn ask(app: &TestApp, person: Option<&Person>, method: &str, path: &str, operation: &Value, body: &Value) -> Answer {
    let mut request = Request::builder().method(method.parse::<Method>().expect("a method")).uri(path);
    if let Some(person) = person {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", person.token));
    }
    let content = operation.pointer("/requestBody/content").and_then(Value::as_object);
    let kind = content.and_then(|content| content.keys().next());
    let body = match kind.map(String::as_str) {
        Some("application/json") => Body::from(body.to_string()),
        _ => Body::empty(),
    };
    if let Some(kind) = kind {
        request = request.header(header::CONTENT_TYPE, kind);
    }
    app.send(request.body(body).expect("a request")).await
}

/// The path with these values for its parameters.
fn filled(path: &str, value: impl Fn(&str) -> String) -> String {
    let steps = path.split('/').map(|step| match step.strip_prefix('{').and_then(|step| step.strip_suffix('}')) {
        Some(name) => value(name),
        None => step.to_owned(),
    });
    steps.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_operation_refuses_exactly_those_below_its_level() {
    let app = TestApp::new().await;
    let workspace_id = app.stage.workspace("Acme").await;
    let (mut table, mut wrong) = (Vec::new(), Vec::new());
    for (path, method, operation) in operations(document()) {
        let levels = openapi::levels(operation);
        let lowest = CALLERS.iter().position(|caller| levels.contains(caller)).unwrap_or(0);
        let mut cells = String::new();
        for (rank, name) in CALLERS.iter().enumerate() {
            let person = caller(&app, rank, workspace_id).await;
            let path =
                filled(path, |name| if name.ends_with("id") { Uuid::now_v7().to_string() } else { "nowhere.test".to_owned() });
            let status = ask(&app, person.as_ref(), &method, &path, operation, &json!({})).await.status.as_u16();
            let expected = match rank {
                _ if rank >= lowest => None,
                0 => Some(401),
                _ => Some(403),
            };
            let refused = Some(status).filter(|status| matches!(status, 401 | 403));
            if refused != expected {
                wrong.push(format!("{method} {path} answers {status} to {name}, and says it is for {levels:?}"));
            }
            cells.push_str(&refused.map_or_else(|| "  yes".to_owned(), |status| format!("  {status}")));
        }
        table.push(format!("{cells}   {method} {path}"));
    }
    assert_eq!(wrong, Vec::<String>::new());
    table.sort_by_key(|line| line.rsplit(' ').next().map(str::to_owned));
    insta::assert_snapshot!(format!("  {}\n{}", CALLERS.join(" "), table.join("\n")));
}

/// A workspace with one of everything, and an owner of another one.
struct Neighbours {
    shop: Shop,
    eve: Person,
    ids: Vec<(&'static str, String)>,
    /// A list and a campaign of the other owner.
    own_list: String,
    own_campaign: String,
}

impl Neighbours {
    async fn new() -> Self {
        let shop = Shop::new().await;
        let app = &shop.app;
        let (ann, eve) = (&shop.owner, app.somebody().await);
        let campaign = shop.campaign().await;
        let sent = shop.campaign().await;
        let job = app.call(Some(ann), Method::POST, &format!("/campaigns/{sent}/send"), None).await.expect(202);
        let suppression = app.post(ann, "/suppressions", json!({ "kind": "address", "value": "x@one.test" })).await.expect(201);
        let template = json!({ "name": "Receipt", "subject": "Thank you", "text": "Thank you" });
        let template = app.post(ann, "/templates", template).await.expect(201);
        let message = json!({ "from": "orders@shop.test", "to": "bob@example.com", "template_id": template["id"] });
        let message = app.post(ann, "/messages", message).await.expect(202);
        let source = app.post(ann, "/feedback-sources", json!({ "kind": "generic", "name": "Own" })).await.expect(201);
        let domain = app.post(ann, "/sending-domains", json!({ "domain": "ann.test" })).await.expect(201);
        let (invitation, import) = (Uuid::now_v7(), Uuid::now_v7());
        let (workspace, user) = (ann.workspace_id, ann.user_id);
        app.stage
            .arrange(format!(
                "INSERT INTO invitations (id, workspace_id, email, level, invited_by, expires_at)
                 VALUES ('{invitation}', '{workspace}', 'bob@example.com', 'viewer', '{user}', now() + interval '1 year');
                 INSERT INTO imports (id, workspace_id, target, list_id, state, file_name, object_key)
                 VALUES ('{import}', '{workspace}', 'contacts', '{}', 'receiving', 'people.csv', 'imports/{import}')",
                shop.list_id
            ))
            .await;
        let ids = vec![
            ("lists", shop.list_id.clone()),
            ("contacts", shop.contact_ids[0].clone()),
            ("campaigns", campaign),
            ("imports", import.to_string()),
            ("jobs", text(&job["job_id"])),
            ("suppressions", text(&suppression["id"])),
            ("templates", text(&template["id"])),
            ("messages", text(&message["id"])),
            ("feedback-sources", text(&source["id"])),
            ("sending-domains", text(&domain["id"])),
            ("users", user.to_string()),
            ("users/invitations", invitation.to_string()),
            ("workspaces", workspace.to_string()),
            ("auth/sessions", ann.session_id.to_string()),
        ];
        let own_list = text(&app.post(&eve, "/lists", json!({ "name": "Own" })).await.expect(201)["id"]);
        let mut draft = shop.draft();
        draft["list_ids"] = json!([own_list]);
        let own_campaign = text(&app.post(&eve, "/campaigns", draft).await.expect(201)["id"]);
        Self { shop, eve, ids, own_list, own_campaign }
    }

    /// Ann's thing that a path is about.
    fn foreign(&self, path: &str) -> String {
        let noun = path.trim_start_matches("/api/v1/").split("/{").next().unwrap_or_default();
        let found = self.ids.iter().find(|(name, _)| *name == noun);
        found.unwrap_or_else(|| panic!("{path} takes an id: say in Neighbours which {noun} is somebody else's")).1.clone()
    }

    /// A body that is good but for whose things it names.
    fn body(&self, operation: &Value) -> Value {
        match operation["operationId"].as_str().unwrap_or_default() {
            "add_members" => json!({ "contact_ids": [self.shop.contact_ids[1]] }),
            "preview_campaign" => json!({ "contact_id": self.shop.contact_ids[0] }),
            "change_user" => json!({ "name": "Eve" }),
            "update_campaign" => json!({ "name": "Eve's" }),
            "update_contact" => json!({ "name": "Eve" }),
            "test_campaign" => json!({ "to": ["eve@example.com"] }),
            _ => operation.pointer("/requestBody/content/application~1json/example").cloned().unwrap_or_else(|| json!({})),
        }
    }
}

#[tokio::test]
async fn an_owner_of_another_workspace_gets_403_from_every_operation_that_takes_an_id_and_changes_nothing() {
    let neighbours = Neighbours::new().await;
    let (app, eve) = (&neighbours.shop.app, Some(&neighbours.eve));
    let before = app.stage.contents().await;
    let mut wrong = Vec::new();
    let mut asked = 0;
    for (path, method, operation) in operations(document()) {
        let levels = openapi::levels(operation);
        if levels.is_empty() || levels == ["admin"] {
            continue;
        }
        let body = neighbours.body(operation);
        if path.contains('{') {
            asked += 1;
            let theirs = neighbours.foreign(path);
            let whole = filled(path, |name| if name == "id" { theirs.clone() } else { neighbours.shop.contact_ids[0].clone() });
            let status = ask(app, eve, &method, &whole, operation, &body).await.status.as_u16();
            let nowhere = filled(path, |_| Uuid::now_v7().to_string());
            let absent = ask(app, eve, &method, &nowhere, operation, &body).await.status.as_u16();
            if (status, absent) != (403, 404) {
                wrong.push(format!("{method} {path}: {status} to somebody else's id, {absent} to one that does not exist"));
            }
        } else if method == "GET" {
            let answer = ask(app, eve, &method, path, operation, &body).await;
            let shown = String::from_utf8_lossy(&answer.body).into_owned();
            for (noun, id) in &neighbours.ids {
                if shown.contains(id.as_str()) {
                    wrong.push(format!("{method} {path} shows {noun} {id} of another workspace"));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(asked > 30, "{asked}");
    assert_eq!(app.stage.contents().await, before, "a refused call changed something");
}

/// Fields of this operation's body, and of its query, that name rows.
fn naming(operation: &Value) -> Vec<String> {
    let names_a_row = |name: &str| name.ends_with("_id") || name.ends_with("_ids");
    let mut named = Vec::new();
    for content in
        operation.pointer("/requestBody/content").and_then(Value::as_object).into_iter().flat_map(|content| content.values())
    {
        let schema = &content["schema"];
        let schema = match schema["$ref"].as_str() {
            Some(to) => document().pointer(to.trim_start_matches('#')).expect("a schema"),
            None => schema,
        };
        let properties = schema["properties"].as_object().into_iter().flatten();
        named.extend(properties.map(|(name, _)| name.clone()).filter(|name| names_a_row(name)));
    }
    let parameters = operation["parameters"].as_array().into_iter().flatten().filter(|parameter| parameter["in"] == "query");
    named.extend(parameters.filter_map(|parameter| parameter["name"].as_str()).filter(|name| names_a_row(name)).map(str::to_owned));
    named
}

#[tokio::test]
async fn no_body_and_no_query_can_name_another_workspaces_rows() {
    let neighbours = Neighbours::new().await;
    let (app, eve) = (&neighbours.shop.app, &neighbours.eve);
    let (list, campaign) = (neighbours.foreign("lists/{id}"), neighbours.foreign("campaigns/{id}"));
    let mut draft = neighbours.shop.draft();
    draft["list_ids"] = json!([neighbours.own_list, list]);
    let before = app.stage.contents().await;
    for (path, method, operation) in operations(document()) {
        let levels = openapi::levels(operation);
        if levels.is_empty() || levels == ["admin"] {
            continue;
        }
        for field in naming(operation) {
            let name = operation["operationId"].as_str().expect("a name");
            let answer = match (name, field.as_str()) {
                // Relays are the house's: every workspace may name them.
                (_, "route_id") => continue,
                ("create_campaign", "list_ids") => app.post(eve, "/campaigns", draft.clone()).await,
                ("update_campaign", "list_ids") => {
                    app.patch(eve, &format!("/campaigns/{}", neighbours.own_campaign), json!({ "list_ids": [list] })).await
                }
                ("create_contact", "list_ids") => {
                    app.post(eve, "/contacts", json!({ "email": "new@one.test", "list_ids": [list] })).await
                }
                ("add_members", "contact_ids") => {
                    let body = json!({ "contact_ids": neighbours.shop.contact_ids });
                    app.post(eve, &format!("/lists/{}/contacts", neighbours.own_list), body).await
                }
                ("preview_campaign", "contact_id") => {
                    let body = json!({ "contact_id": neighbours.shop.contact_ids[0] });
                    app.post(eve, &format!("/campaigns/{}/preview", neighbours.own_campaign), body).await
                }
                ("create_message", "template_id") => {
                    let template = neighbours.foreign("templates/{id}");
                    let body = json!({ "from": "eve@shop.test", "to": "bob@example.com", "template_id": template });
                    app.post(eve, "/messages", body).await
                }
                ("create_import", "list_id") => {
                    let form = format!(
                        "--edge\r\nContent-Disposition: form-data; name=\"target\"\r\n\r\ncontacts\r\n\
                         --edge\r\nContent-Disposition: form-data; name=\"list_id\"\r\n\r\n{list}\r\n--edge--\r\n"
                    );
                    let request = Request::post("/api/v1/imports")
                        .header(header::AUTHORIZATION, format!("Bearer {}", eve.token))
                        .header(header::CONTENT_TYPE, "multipart/form-data; boundary=edge");
                    app.send(request.body(Body::from(form)).expect("a request")).await
                }
                ("list_contacts", "list_id") => app.get(eve, &format!("/contacts?list_id={list}")).await,
                // A filter: nothing of eve's belongs to that campaign.
                ("list_jobs", "campaign_id") => {
                    let page = app.get(eve, &format!("/jobs?campaign_id={campaign}")).await.expect(200);
                    assert_eq!(page["pagination"]["total"], 0);
                    continue;
                }
                _ => panic!("{method} {path} takes {field}: say here what it answers to somebody else's"),
            };
            assert_eq!(answer.status.as_u16(), 403, "{method} {path} with {field}: {}", String::from_utf8_lossy(&answer.body));
        }
    }
    assert_eq!(app.stage.contents().await, before, "a refused call changed something");
}
