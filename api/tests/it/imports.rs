use std::sync::Arc;

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use serde_json::{Value, json};
use shared::{
    imports::load::{Checkpoint, Load},
    queue::{
        claim::{Claim, Lease},
        lane::Lane,
    },
};
use uuid::Uuid;

use crate::app::{Answer, Person, TestApp};

/// A field of a form: name, name of a file if it is one, content.
type Field<'a> = (&'a str, Option<&'a str>, &'a [u8]);

fn form(person: &Person, fields: &[Field<'_>]) -> Request<Body> {
    let mut body = Vec::new();
    for (name, file, content) in fields {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        body.extend_from_slice(format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--edge--\r\n");
    Request::builder()
        .method(Method::POST)
        .uri("/api/v1/imports")
        .header(header::AUTHORIZATION, format!("Bearer {}", person.token))
        .header(header::CONTENT_TYPE, "multipart/form-data; boundary=edge")
        .body(Body::from(body))
        .expect("a request")
}

async fn upload(app: &TestApp, person: &Person, list_id: &str, file: &[u8]) -> Answer {
    let fields = [("target", None, &b"contacts"[..]), ("list_id", None, list_id.as_bytes()), ("file", Some("people.csv"), file)];
    app.send(form(person, &fields)).await
}

async fn list(app: &TestApp, person: &Person) -> String {
    let created = app.post(person, "/lists", json!({"name": "readers"})).await.expect(201);
    created["id"].as_str().expect("an id").to_owned()
}

async fn count(app: &TestApp, person: &Person) -> Value {
    app.get(person, "/imports").await.expect(200)["pagination"]["total"].clone()
}

struct Onward;

impl Checkpoint for Onward {
    type Stop = ();

    async fn checkpoint(&mut self, _: i64, _: i64) -> Result<(), ()> {
        Ok(())
    }
}

/// Does what a worker does with the job that waits.
async fn load(app: &TestApp, import_id: &str) {
    let claim = Claim { lane: Lane::Imports, owner: Uuid::now_v7(), lease_seconds: 60, destination_cap: 1, hint: None };
    let job = claim.take(&app.stage.pool).await.expect("claimed").expect("a job waits");
    let lease = Lease { job_id: job.id, epoch: job.lease_epoch };
    let import_id = import_id.parse().expect("an id");
    let load = Load { pool: &app.stage.pool, store: &app.state.store, import_id, lease, part_records: 2 };
    load.run(&mut Onward).await.expect("loaded");
}

#[tokio::test]
async fn an_upload_is_accepted_loaded_and_its_errors_can_be_downloaded() {
    let app = TestApp::new().await;
    let person = app.somebody().await;
    let list = list(&app, &person).await;
    let answer =
        upload(&app, &person, &list, "email,name\na@b.test,Ada\na@b..c,Bad\n=x,\"1,2\"\nA@B.test,Ada L.\n".as_bytes()).await;
    let accepted = answer.expect(202);
    let (id, job_id) = (accepted["id"].as_str().expect("an id"), accepted["job_id"].as_str().expect("a job"));
    assert_eq!(answer.headers[header::LOCATION], format!("/api/v1/jobs/{job_id}"));
    let job = app.get(&person, &format!("/jobs/{job_id}")).await.expect(200);
    assert_eq!((&job["kind"], &job["state"], &job["lane"]), (&json!("LoadContacts"), &json!("queued"), &json!("imports")));

    load(&app, id).await;
    let import = app.get(&person, &format!("/imports/{id}")).await.expect(200);
    insta::assert_json_snapshot!(import, {
        ".id" => "[id]", ".job_id" => "[id]", ".workspace_id" => "[id]", ".list_id" => "[id]",
        ".created_at" => "[time]", ".updated_at" => "[time]", ".finished_at" => "[time]",
    }, @r#"
    {
      "counts": {
        "created": 1,
        "duplicate": 0,
        "invalid": 2,
        "records": 4,
        "updated": 1
      },
      "created_at": "[time]",
      "failure": null,
      "file_name": "people.csv",
      "finished_at": "[time]",
      "id": "[id]",
      "job_id": "[id]",
      "list_id": "[id]",
      "progress": {
        "done": 60,
        "percent": 100,
        "total": 60
      },
      "size_bytes": 60,
      "state": "finished",
      "target": "contacts",
      "updated_at": "[time]",
      "workspace_id": "[id]"
    }
    "#);

    let file = app.get(&person, &format!("/imports/{id}/errors")).await;
    assert_eq!(file.headers[header::CONTENT_TYPE], "text/csv; charset=utf-8");
    assert_eq!(file.headers[header::CONTENT_DISPOSITION], format!("attachment; filename=\"import-{id}-errors.csv\""));
    insta::assert_snapshot!(String::from_utf8_lossy(&file.body).replace('\r', ""), @r#"
    line,column,reason,row
    3,email,"""a@b..c"" has a misplaced dot in its domain","a@b..c,Bad"
    4,email,"""=x"" has no @","'=x,""1,2"""
    "#);
    let request = Request::builder()
        .uri(format!("/api/v1/imports/{id}/errors?limit=1&page=2"))
        .header(header::AUTHORIZATION, format!("Bearer {}", person.token))
        .header(header::ACCEPT, "application/json");
    let page = app.send(request.body(Body::empty()).expect("a request")).await.expect(200);
    assert_eq!(page["data"], json!([{"line": 4, "column": "email", "reason": "\"=x\" has no @", "row": "=x,\"1,2\""}]));

    let over = app.post(&person, &format!("/imports/{id}/cancel"), json!({})).await.problem(409);
    assert_eq!(over["detail"], format!("import {id} is finished, there is nothing to cancel"));
}

#[tokio::test]
async fn the_fields_may_come_in_any_order() {
    let app = TestApp::new().await;
    let person = app.somebody().await;
    let list = list(&app, &person).await;
    let fields =
        [("file", Some("x.csv"), &b"email\na@b.test\n"[..]), ("list_id", None, list.as_bytes()), ("target", None, b"contacts")];
    app.send(form(&person, &fields)).await.expect(202);
    assert_eq!(count(&app, &person).await, 1);
}

#[tokio::test]
async fn a_bad_upload_is_refused_by_field_and_leaves_nothing() {
    let app = TestApp::new().await;
    let (person, other) = (app.somebody().await, app.somebody().await);
    let (mine, theirs) = (list(&app, &person).await, list(&app, &other).await);
    let nobody = Uuid::now_v7().to_string();
    let file = (("file"), Some("x.csv"), &b"email\na@b.test\n"[..]);
    let target = ("target", None, &b"contacts"[..]);
    let list_id = ("list_id", None, mine.as_bytes());
    let cases: [(u16, &[Field<'_>]); 12] = [
        (400, &[target, list_id]),
        (400, &[file, target]),
        (400, &[file, list_id]),
        (400, &[target, list_id, ("file", Some("x.csv"), b"")]),
        (400, &[target, list_id, ("file", Some("x.csv"), b"\xef\xbb\xbf\n")]),
        (400, &[target, list_id, ("file", Some("x.xlsx"), b"PK\x03\x04...")]),
        (400, &[("file", Some("x.csv"), b"email\0"), target, list_id]),
        (400, &[("target", None, b"leads"), list_id, file]),
        (400, &[file, target, ("list_id", None, b"7")]),
        (400, &[file, target, list_id, ("mode", None, b"fast")]),
        (403, &[file, target, ("list_id", None, theirs.as_bytes())]),
        (404, &[target, ("list_id", None, nobody.as_bytes()), file]),
    ];
    let mut problems = Vec::new();
    for (status, fields) in cases {
        let problem = app.send(form(&person, fields)).await.problem(status);
        problems.push(problem["detail"].as_str().expect("a detail").replace(&theirs, "[theirs]").replace(&nobody, "[nobody]"));
    }
    insta::assert_snapshot!(problems.join("\n"), @r#"
    file: is required: a CSV file in UTF-8
    list_id: is required: the list that the contacts join
    target: is required: "contacts"
    file: is empty
    file: is empty: it holds only white space
    file: is a zip archive or an Excel workbook, not CSV; save it as CSV
    file: is binary, not CSV: it holds NUL bytes
    target: must be "contacts", not "leads"
    list_id: "7" is not a UUID
    mode: is not a known field; the fields are target, list_id and file
    list [theirs] belongs to another workspace
    list [nobody] does not exist
    "#);
    assert_eq!(count(&app, &person).await, 0);
    assert_eq!(app.get(&person, "/jobs").await.expect(200)["pagination"]["total"], 0);
    app.post(&person, "/imports", json!({})).await.problem(415);
}

#[tokio::test]
async fn an_upload_over_the_limit_is_refused_and_leaves_nothing() {
    let mut app = TestApp::new().await;
    let mut settings = app.stage.settings.clone();
    settings.api.max_upload_bytes = 100_000;
    app.use_settings(Arc::new(settings));
    let person = app.somebody().await;
    let list = list(&app, &person).await;
    let problem = upload(&app, &person, &list, &b"email,name\n".repeat(10_000)).await.problem(413);
    assert_eq!(problem["detail"], "the body is larger than 100000 bytes");
    assert_eq!(count(&app, &person).await, 0);
    upload(&app, &person, &list, &b"email,nam\n".repeat(10_000)).await.expect(202);
}

#[tokio::test]
async fn an_import_is_seen_and_cancelled_by_its_own_workspace_only() {
    let app = TestApp::new().await;
    let (person, other) = (app.somebody().await, app.somebody().await);
    let list = list(&app, &person).await;
    let accepted = upload(&app, &person, &list, b"email\na@b.test\n").await.expect(202);
    let path = format!("/imports/{}", accepted["id"].as_str().expect("an id"));
    app.get(&other, &path).await.problem(403);
    app.get(&other, &format!("{path}/errors")).await.problem(403);
    app.post(&other, &format!("{path}/cancel"), json!({})).await.problem(403);
    app.get(&person, &format!("/imports/{}", Uuid::now_v7())).await.problem(404);
    app.get(&person, "/imports?state=lost").await.problem(400);
    assert_eq!(count(&app, &other).await, 0);
    let cancelled = app.post(&person, &format!("{path}/cancel"), json!({})).await.expect(200);
    assert_eq!(cancelled["state"], "cancelled");
    let job = app.get(&person, &format!("/jobs/{}", accepted["job_id"].as_str().expect("an id"))).await.expect(200);
    assert_eq!(job["state"], "cancelled");
}

#[tokio::test]
async fn a_part_whose_header_never_ends_is_refused_and_not_held() {
    let app = TestApp::new().await;
    let person = app.somebody().await;
    let endless = std::iter::once("--edge\r\nContent-Disposition: form-data; name=\"".to_owned())
        .chain(std::iter::repeat_n("x".repeat(100_000), 100));
    let body = Body::from_stream(futures::stream::iter(endless.map(Ok::<_, std::io::Error>)));
    let request = Request::post("/api/v1/imports")
        .header(header::AUTHORIZATION, format!("Bearer {}", person.token))
        .header(header::CONTENT_TYPE, "multipart/form-data; boundary=edge")
        .body(body)
        .expect("a request");
    let problem = app.send(request).await.problem(400);
    assert_eq!(problem["detail"], "body: holds a part whose header is too long");
}
