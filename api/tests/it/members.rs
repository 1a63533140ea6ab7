//! Coming in by mail, and who may change whom. The mails themselves are the worker's: here stands what is enqueued and what links do.

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use chrono::TimeDelta;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use shared::accounts::level::Level;
use uuid::Uuid;

use crate::{
    app::{Answer, Person, TestApp},
    shop::text,
};

const PASSWORD: &str = "correct horse battery";
const ANOTHER: &str = "staple battery horse";

/// A front whose mail relay is set.
async fn with_mail() -> TestApp {
    TestApp::with(|settings| {
        settings.mail.relay_url = "smtp://127.0.0.1:1".to_owned().into();
        settings.mail.from = "post@example.com".to_owned();
    })
    .await
}

async fn open(app: &TestApp, path: &str, body: Value) -> Answer {
    app.call(None, Method::POST, path, Some(body)).await
}

/// What the link in the newest mail of this purpose to this address carries.
async fn token(app: &TestApp, purpose: &str, email: &str) -> String {
    let key = format!("{purpose} {email}");
    let sql = "SELECT id::text FROM mail_tokens WHERE purpose || ' ' || email = $1 ORDER BY id DESC LIMIT 1";
    let id: Uuid = app.stage.text(sql, &key).await.parse().expect("an id");
    app.state.links.mail_token(purpose, id)
}

async fn mails(app: &TestApp, mail: &str) -> i64 {
    let sql = "SELECT count(*)::text FROM jobs WHERE kind = 'SendAccountMail' AND lane = 'critical' AND payload->>'mail' = $1";
    app.stage.text(sql, mail).await.parse().expect("a number")
}

async fn login(app: &TestApp, email: &str, password: &str) -> Person {
    let session = app.log_in(email, password).await.expect(200);
    let token = text(&session["access_token"]);
    let me = app.bearing(&token, "/me").await.expect(200);
    let id = |value: &Value| text(value).parse().expect("an id");
    Person {
        user_id: id(&me["id"]),
        session_id: Uuid::nil(),
        workspace_id: id(&me["workspace"]["id"]),
        email: email.to_owned(),
        token,
    }
}

#[tokio::test]
async fn whoever_registers_owns_a_workspace_and_is_welcomed_once_the_address_is_verified() {
    let app = with_mail().await;
    let body = json!({ "email": "Ada@Example.com", "password": PASSWORD, "name": "Ada", "workspace_name": "Acme" });
    let user = open(&app, "/auth/register", body.clone()).await.expect(201);
    assert_json_snapshot!(user, { ".id" => "…", ".workspace.id" => "…", ".created_at" => "…", ".updated_at" => "…" }, @r#"
    {
      "created_at": "…",
      "disabled_at": null,
      "email": "ada@example.com",
      "email_verified": false,
      "id": "…",
      "level": "owner",
      "name": "Ada",
      "role": "client",
      "updated_at": "…",
      "workspace": {
        "id": "…",
        "name": "Acme"
      }
    }
    "#);
    open(&app, "/auth/register", body).await.problem(409);
    assert_eq!((mails(&app, "verification").await, mails(&app, "welcome").await), (1, 0));
    let payload =
        app.stage.text("SELECT payload::text FROM jobs WHERE kind = 'SendAccountMail' AND payload->>'mail' = $1", "verification");
    let payload: Value = serde_json::from_str(&payload.await).expect("JSON");
    assert_eq!(
        payload.as_object().map(|payload| payload.keys().cloned().collect()),
        Some(vec!["id".to_owned(), "mail".to_owned()])
    );

    let token = token(&app, "verification", "ada@example.com").await;
    open(&app, "/auth/verify-email", json!({ "token": format!("{token}A") })).await.problem(400);
    assert_eq!(open(&app, "/auth/verify-email", json!({ "token": token })).await.expect(200)["email"], "ada@example.com");
    open(&app, "/auth/verify-email", json!({ "token": token })).await.problem(400);
    let ada = login(&app, "ada@example.com", PASSWORD).await;
    assert_eq!(app.get(&ada, "/me").await.expect(200)["email_verified"], true);
    assert_eq!(mails(&app, "welcome").await, 1);
    app.call(Some(&ada), Method::POST, "/auth/verify-email/resend", None).await.problem(409);
}

#[tokio::test]
async fn a_verification_is_sent_again_and_the_older_link_is_void() {
    let app = with_mail().await;
    open(&app, "/auth/register", json!({ "email": "ada@example.com", "password": PASSWORD })).await.expect(201);
    let older = token(&app, "verification", "ada@example.com").await;
    let ada = login(&app, "ada@example.com", PASSWORD).await;
    app.call(Some(&ada), Method::POST, "/auth/verify-email/resend", None).await.expect(202);
    open(&app, "/auth/verify-email", json!({ "token": older })).await.problem(400);
    let newer = token(&app, "verification", "ada@example.com").await;
    app.stage.clock.advance(TimeDelta::hours(48));
    open(&app, "/auth/verify-email", json!({ "token": newer })).await.problem(400);
    let ada = login(&app, "ada@example.com", PASSWORD).await;
    for _ in 0..5 {
        app.call(Some(&ada), Method::POST, "/auth/verify-email/resend", None).await.expect(202);
    }
    app.call(Some(&ada), Method::POST, "/auth/verify-email/resend", None).await.problem(429);
}

#[tokio::test]
async fn where_registration_is_closed_and_no_relay_is_set_that_is_said() {
    let app = TestApp::with(|settings| settings.auth.open_registration = false).await;
    let body = json!({ "email": "ada@example.com", "password": PASSWORD });
    open(&app, "/auth/register", body).await.problem(403);
    let ann = app.somebody().await;
    let refused = app.post(&ann, "/users/invite", json!({ "email": "bob@example.com", "level": "editor" })).await.problem(409);
    assert_eq!(refused["detail"], "mails about accounts are off: whoever runs this sets mail.relay_url and mail.from");
    let app = TestApp::new().await;
    open(&app, "/auth/register", json!({ "email": "ada@example.com", "password": PASSWORD })).await.expect(201);
    assert_eq!(mails(&app, "verification").await, 0);
}

#[tokio::test]
async fn an_invited_person_joins_the_workspace_with_its_level_once() {
    let app = with_mail().await;
    let ann = app.somebody().await;
    let invite = json!({ "email": "Bob@example.com", "level": "editor" });
    let invited = app.post(&ann, "/users/invite", invite.clone()).await.expect(201);
    assert_eq!((&invited["email"], &invited["invited_by"]), (&json!("bob@example.com"), &json!(ann.email)));
    assert_eq!(app.get(&ann, "/users/invitations").await.expect(200)["data"][0], invited);
    app.post(&ann, "/users/invite", invite.clone()).await.problem(409);
    app.post(&ann, "/users/invite", json!({ "email": ann.email, "level": "viewer" })).await.problem(409);

    let token = token(&app, "invitation", "bob@example.com").await;
    let accept = |password: &str| json!({ "token": token, "name": "Bob", "password": password });
    open(&app, "/auth/invitations/accept", accept("bob")).await.problem(400);
    open(&app, "/auth/invitations/accept", accept("password1")).await.problem(400);
    let bob = open(&app, "/auth/invitations/accept", accept(PASSWORD)).await.expect(201);
    assert_eq!((&bob["level"], &bob["role"], &bob["email_verified"]), (&json!("editor"), &json!("client"), &json!(true)));
    assert_eq!(bob["workspace"]["id"], ann.workspace_id.to_string());
    open(&app, "/auth/invitations/accept", accept(PASSWORD)).await.problem(400);
    let bob = login(&app, "bob@example.com", PASSWORD).await;
    app.post(&bob, "/lists", json!({ "name": "Mine" })).await.expect(201);
    app.post(&bob, "/users/invite", json!({ "email": "eve@example.com", "level": "viewer" })).await.problem(403);
    assert_eq!(app.get(&ann, "/users/invitations").await.expect(200)["pagination"]["total"], 0);
    let id = text(&invited["id"]);
    app.delete(&ann, &format!("/users/invitations/{id}")).await.problem(409);
    app.call(Some(&ann), Method::POST, &format!("/users/invitations/{id}/resend"), None).await.problem(409);
}

#[tokio::test]
async fn two_who_accept_one_invitation_at_once_make_one_user() {
    let app = with_mail().await;
    let ann = app.somebody().await;
    app.post(&ann, "/users/invite", json!({ "email": "bob@example.com", "level": "editor" })).await.expect(201);
    let token = token(&app, "invitation", "bob@example.com").await;
    let accept = || open(&app, "/auth/invitations/accept", json!({ "token": token, "password": PASSWORD }));
    let (first, second) = tokio::join!(accept(), accept());
    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 400]);
}

#[tokio::test]
async fn an_invitation_is_sent_again_revoked_or_expires() {
    let app = with_mail().await;
    let ann = app.somebody().await;
    let invited = app.post(&ann, "/users/invite", json!({ "email": "bob@example.com", "level": "viewer" })).await.expect(201);
    let path = format!("/users/invitations/{}", text(&invited["id"]));
    let accept =
        async |token: String| open(&app, "/auth/invitations/accept", json!({ "token": token, "password": PASSWORD })).await;
    let first = token(&app, "invitation", "bob@example.com").await;
    app.stage.clock.advance(TimeDelta::days(6));
    app.call(Some(&ann), Method::POST, &format!("{path}/resend"), None).await.problem(401);
    let ann = app.client(ann.workspace_id).await;
    app.call(Some(&ann), Method::POST, &format!("{path}/resend"), None).await.expect(200);
    accept(first).await.problem(400);
    let second = token(&app, "invitation", "bob@example.com").await;
    app.delete(&ann, &path).await.expect(204);
    app.delete(&ann, &path).await.expect(204);
    accept(second).await.problem(400);

    app.post(&ann, "/users/invite", json!({ "email": "bob@example.com", "level": "viewer" })).await.expect(201);
    let third = token(&app, "invitation", "bob@example.com").await;
    app.stage.clock.advance(TimeDelta::days(7));
    accept(third).await.problem(400);
    let ann = app.client(ann.workspace_id).await;
    app.post(&ann, "/users/invite", json!({ "email": "bob@example.com", "level": "viewer" })).await.expect(201);
}

#[tokio::test]
async fn asking_for_a_new_password_says_and_does_the_same_for_everybody() {
    let app = with_mail().await;
    open(&app, "/auth/register", json!({ "email": "ada@example.com", "password": PASSWORD })).await.expect(201);
    let known = open(&app, "/auth/password/forgot", json!({ "email": "Ada@Example.com" })).await;
    let unknown = open(&app, "/auth/password/forgot", json!({ "email": "nobody@example.com" })).await;
    assert_eq!((known.status.as_u16(), &known.body), (202, &unknown.body));
    assert_eq!(unknown.status.as_u16(), 202);
    // The same rows for both: whether there is an account is looked up by the job.
    assert_eq!(mails(&app, "reset").await, 2);
    open(&app, "/auth/password/forgot", json!({ "email": "not an address" })).await.expect(202);
    for _ in 0..9 {
        open(&app, "/auth/password/forgot", json!({ "email": "ada@example.com" })).await.expect(202);
    }
    assert_eq!(mails(&app, "reset").await, 6, "five an hour for an address");
    let nobody = token(&app, "reset", "nobody@example.com").await;
    open(&app, "/auth/password/reset", json!({ "token": nobody, "password": ANOTHER })).await.problem(400);
}

#[tokio::test]
async fn a_new_password_by_mail_ends_every_session_and_opens_a_closed_account() {
    let app = with_mail().await;
    open(&app, "/auth/register", json!({ "email": "ada@example.com", "password": PASSWORD })).await.expect(201);
    let ada = login(&app, "ada@example.com", PASSWORD).await;
    open(&app, "/auth/password/forgot", json!({ "email": "ada@example.com" })).await.expect(202);
    let older = token(&app, "reset", "ada@example.com").await;
    open(&app, "/auth/password/forgot", json!({ "email": "ada@example.com" })).await.expect(202);
    let newer = token(&app, "reset", "ada@example.com").await;
    for _ in 0..10 {
        app.log_in("ada@example.com", "wrong horse battery").await.problem(401);
    }
    app.log_in("ada@example.com", PASSWORD).await.problem(429);

    let reset = async |token: &str, password: &str| {
        open(&app, "/auth/password/reset", json!({ "token": token, "password": password })).await
    };
    reset(&older, ANOTHER).await.problem(400);
    reset(&newer, "ada@example.com").await.problem(400);
    let verification = token(&app, "verification", "ada@example.com").await;
    reset(&verification, ANOTHER).await.problem(400);
    reset(&newer, ANOTHER).await.expect(204);
    reset(&newer, ANOTHER).await.problem(400);
    app.get(&ada, "/me").await.problem(401);
    app.log_in("ada@example.com", PASSWORD).await.problem(401);
    let ada = login(&app, "ada@example.com", ANOTHER).await;
    assert_eq!(app.get(&ada, "/me").await.expect(200)["email_verified"], true);

    open(&app, "/auth/password/forgot", json!({ "email": "ada@example.com" })).await.expect(202);
    let late = token(&app, "reset", "ada@example.com").await;
    app.stage.clock.advance(TimeDelta::hours(1));
    reset(&late, PASSWORD).await.problem(400);
}

async fn press(app: &TestApp, path: &str, form: &str) -> (u16, String) {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let answer = app.send(request.body(Body::from(form.to_owned())).expect("a request")).await;
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
    (answer.status.as_u16(), String::from_utf8(answer.body).expect("UTF-8"))
}

async fn look(app: &TestApp, path: &str) -> (u16, String) {
    let answer = app.bare(Method::GET, path).await;
    (answer.status.as_u16(), String::from_utf8(answer.body).expect("UTF-8"))
}

#[tokio::test]
async fn pages_behind_links_ask_first_and_only_the_button_does_it() {
    let app = with_mail().await;
    let ann = app.somebody().await;
    app.patch(&ann, &format!("/workspaces/{}", ann.workspace_id), json!({ "name": "<b>Acme</b>" })).await.expect(200);
    app.post(&ann, "/users/invite", json!({ "email": "bob@example.com", "level": "viewer" })).await.expect(201);
    let path = format!("/accept-invitation?token={}", token(&app, "invitation", "bob@example.com").await);
    for _ in 0..2 {
        let (status, html) = look(&app, &path).await;
        assert!(status == 200 && html.contains("&lt;b&gt;Acme&lt;/b&gt;") && html.contains("<form method=\"post\">"), "{html}");
    }
    let (status, html) = press(&app, &path, "name=Bob&password=short").await;
    assert!(status == 400 && html.contains("The password must have 8 to 128 characters, not 5."), "{html}");
    let (status, html) = press(&app, &path, "name=Bob&password=correct+horse+battery").await;
    assert!(status == 200 && html.contains("You can log in as <strong>bob@example.com</strong> now."), "{html}");
    assert_eq!((press(&app, &path, "password=correct+horse+battery").await.0, look(&app, &path).await.0), (404, 404));
    app.log_in("bob@example.com", PASSWORD).await.expect(200);

    open(&app, "/auth/password/forgot", json!({ "email": "bob@example.com" })).await.expect(202);
    let path = format!("/reset-password?token={}", token(&app, "reset", "bob@example.com").await);
    assert_eq!(look(&app, &path).await.0, 200);
    assert_eq!(press(&app, &path, "password=staple%20battery%20horse").await.0, 200);
    app.log_in("bob@example.com", ANOTHER).await.expect(200);

    open(&app, "/auth/register", json!({ "email": "ada@example.com", "password": PASSWORD })).await.expect(201);
    let path = format!("/verify-email?token={}", token(&app, "verification", "ada@example.com").await);
    assert!(look(&app, &path).await.1.contains("ada@example.com"));
    assert_eq!((press(&app, &path, "").await.0, press(&app, &path, "").await.0), (200, 404));
    for path in ["/verify-email", "/reset-password?token=x", "/accept-invitation?token=%00"] {
        let status = look(&app, path).await.0;
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
}

#[tokio::test]
async fn an_owner_lists_searches_changes_disables_and_enables_members() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let bob = app.member(ann.workspace_id, Level::Viewer).await;
    let path = format!("/users/{}", bob.user_id);
    let changed = app.patch(&ann, &path, json!({ "name": " Bob Builder ", "level": "editor" })).await.expect(200);
    assert_eq!((&changed["name"], &changed["level"]), (&json!("Bob Builder"), &json!("editor")));
    assert_eq!(app.get(&ann, "/users").await.expect(200)["pagination"]["total"], 2);
    let found = app.get(&bob, "/users?search=BUILDER").await.expect(200);
    assert_eq!((&found["pagination"]["total"], &found["data"][0]), (&json!(1), &changed));
    assert_eq!(app.get(&bob, "/users?search=100%25").await.expect(200)["pagination"]["total"], 0);
    app.patch(&ann, &path, json!({ "email": "bob@example.com" })).await.problem(403);
    let admin = app.admin().await;
    app.patch(&admin, &path, json!({ "email": "bob@example.com" })).await.problem(403);
    assert_eq!(app.get(&admin, "/users").await.expect(200)["pagination"]["total"], 3, "an admin sees all");

    assert!(app.call(Some(&ann), Method::POST, &format!("{path}/disable"), None).await.expect(200)["disabled_at"].is_string());
    app.get(&bob, "/me").await.problem(401);
    let again = app.call(Some(&ann), Method::POST, &format!("{path}/disable"), None).await.expect(200);
    app.call(Some(&ann), Method::POST, &format!("{path}/enable"), None).await.expect(200);
    assert!(again["disabled_at"].is_string());
    app.get(&bob, "/me").await.problem(401);
}

#[tokio::test]
async fn a_workspace_keeps_an_owner_even_when_two_owners_unmake_each_other_at_once() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let own = format!("/users/{}", ann.user_id);
    let refused = app.patch(&ann, &own, json!({ "level": "editor" })).await.problem(409);
    assert!(text(&refused["detail"]).ends_with("is the last owner of the workspace \"Acme\": make somebody else an owner first"));
    app.call(Some(&ann), Method::POST, &format!("{own}/disable"), None).await.problem(409);
    let bob = app.client(ann.workspace_id).await;
    let others = format!("/users/{}", bob.user_id);
    let (by_ann, by_bob) =
        tokio::join!(app.patch(&ann, &others, json!({ "level": "editor" })), app.patch(&bob, &own, json!({ "level": "viewer" })));
    // The later one is refused for what it is by then, or for what would be left.
    let statuses = [by_ann.status.as_u16(), by_bob.status.as_u16()];
    assert!(statuses.contains(&200) && statuses.iter().any(|status| matches!(status, 403 | 409)), "{statuses:?}");
    let owners = "SELECT count(*) FROM users WHERE workspace_id = $1 AND level = 'owner' AND disabled_at IS NULL";
    assert_eq!(app.stage.number(owners, ann.workspace_id).await, 1);
}

#[tokio::test]
async fn an_admin_is_changed_by_admins_alone() {
    let app = TestApp::new().await;
    let admin = app.admin().await;
    let owner = app.client(admin.workspace_id).await;
    app.patch(&owner, &format!("/users/{}", admin.user_id), json!({ "name": "Eve" })).await.problem(403);
    app.call(Some(&owner), Method::POST, &format!("/users/{}/disable", admin.user_id), None).await.problem(403);
    app.patch(&admin, &format!("/users/{}", admin.user_id), json!({ "name": "Root" })).await.expect(200);
}

#[tokio::test]
async fn a_new_address_needs_the_password_is_unverified_and_must_be_free() {
    let app = with_mail().await;
    open(&app, "/auth/register", json!({ "email": "ada@example.com", "password": PASSWORD })).await.expect(201);
    let link = token(&app, "verification", "ada@example.com").await;
    let ada = login(&app, "ada@example.com", PASSWORD).await;
    let bob = app.somebody().await;
    let to = |email: &str, password: &str| json!({ "email": email, "password": password });
    app.patch(&ada, "/me", json!({ "email": "ada@two.example.com" })).await.problem(400);
    app.patch(&ada, "/me", to("ada@two.example.com", "wrong horse battery")).await.problem(400);
    app.patch(&ada, "/me", to(&bob.email, PASSWORD)).await.problem(409);
    let changed = app.patch(&ada, "/me", to("Ada@two.example.com", PASSWORD)).await.expect(200);
    assert_eq!((&changed["email"], &changed["email_verified"]), (&json!("ada@two.example.com"), &json!(false)));
    open(&app, "/auth/verify-email", json!({ "token": link })).await.problem(400);
    let link = token(&app, "verification", "ada@two.example.com").await;
    open(&app, "/auth/verify-email", json!({ "token": link })).await.expect(200);
    assert_eq!(app.patch(&ada, "/me", json!({ "name": "Ada" })).await.expect(200)["email_verified"], true);
    app.log_in("ada@example.com", PASSWORD).await.problem(401);
    app.log_in("ada@two.example.com", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn what_is_over_is_forgotten_and_what_is_not_stays() {
    let app = with_mail().await;
    open(&app, "/auth/register", json!({ "email": "ada@example.com", "password": PASSWORD })).await.expect(201);
    let ada = login(&app, "ada@example.com", PASSWORD).await;
    app.log_in("ada@example.com", "wrong horse battery").await.problem(401);
    let prune = async || shared::members::prune::expired(&app.stage.pool, app.stage.clock.now()).await.expect("pruned");
    assert_eq!(prune().await, 0);
    app.get(&ada, "/me").await.expect(200);
    app.stage.clock.advance(TimeDelta::days(32));
    // The link, the refresh token, its session and the window of wrong passwords.
    assert_eq!(prune().await, 4);
}

#[tokio::test]
async fn of_two_changes_that_expect_the_same_member_or_workspace_one_is_made() {
    let app = TestApp::new().await;
    let ann = app.somebody().await;
    let bob = app.member(ann.workspace_id, Level::Viewer).await;
    for path in [format!("/users/{}", bob.user_id), format!("/workspaces/{}", ann.workspace_id)] {
        let tag = app.get(&ann, &path).await.headers[header::ETAG].clone();
        let change = async |name: &str| {
            let request = Request::patch(format!("/api/v1{path}"))
                .header(header::AUTHORIZATION, format!("Bearer {}", ann.token))
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::IF_MATCH, tag.clone());
            app.send(request.body(Body::from(json!({ "name": name }).to_string())).expect("a request")).await.status.as_u16()
        };
        let (first, second) = tokio::join!(change("One"), change("Two"));
        assert_eq!([first.min(second), first.max(second)], [200, 412], "{path}");
    }
}
