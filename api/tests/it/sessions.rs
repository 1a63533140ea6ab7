//! Staying logged in, and wrong passwords.

use axum::http::{Method, Request, header};
use chrono::TimeDelta;
use futures::future::join_all;
use serde_json::{Value, json};
use shared::accounts::{
    level::Level,
    register::{self, Registration},
    user::Role,
};
use uuid::Uuid;

use crate::{
    app::{Answer, Person, TestApp},
    shop::text,
};

const PASSWORD: &str = "correct horse battery";

/// A user who can log in, logged in.
async fn somebody(app: &TestApp, email: &str) -> Person {
    let registration = Registration {
        email: email.to_owned(),
        name: String::new(),
        password: PASSWORD.to_owned(),
        role: Role::Client,
        level: Level::Owner,
        workspace_id: None,
        workspace_name: None,
    };
    let user = register::register(&app.stage.pool, &app.state.sessions.passwords, registration).await.expect("a user");
    let token = text(&app.log_in(email, PASSWORD).await.expect(200)["access_token"]);
    let person =
        Person { user_id: user.id, session_id: Uuid::nil(), workspace_id: user.workspace_id, email: email.to_owned(), token };
    let sessions = app.get(&person, "/auth/sessions").await.expect(200);
    Person { session_id: text(&sessions["data"][0]["id"]).parse().expect("an id"), ..person }
}

async fn tokens(app: &TestApp, email: &str) -> Value {
    app.log_in(email, PASSWORD).await.expect(200)
}

async fn refresh(app: &TestApp, token: &Value) -> Answer {
    app.call(None, Method::POST, "/auth/refresh", Some(json!({ "refresh_token": token }))).await
}

#[tokio::test]
async fn a_refresh_token_shown_again_within_ten_seconds_gives_the_same_successor() {
    let app = TestApp::new().await;
    somebody(&app, "ann@example.com").await;
    let first = tokens(&app, "ann@example.com").await["refresh_token"].clone();
    let second = refresh(&app, &first).await.expect(200)["refresh_token"].clone();
    assert_ne!(first, second);
    app.stage.clock.advance(TimeDelta::seconds(10));
    assert_eq!(refresh(&app, &first).await.expect(200)["refresh_token"], second);
    refresh(&app, &second).await.expect(200);
}

#[tokio::test]
async fn a_copied_refresh_token_revokes_its_session_and_no_other() {
    let app = TestApp::new().await;
    somebody(&app, "ann@example.com").await;
    let (stolen, elsewhere) = (tokens(&app, "ann@example.com").await, tokens(&app, "ann@example.com").await);
    let successor = refresh(&app, &stolen["refresh_token"]).await.expect(200);
    app.stage.clock.advance(TimeDelta::seconds(11));
    refresh(&app, &stolen["refresh_token"]).await.problem(401);
    refresh(&app, &successor["refresh_token"]).await.problem(401);
    app.bearing(successor["access_token"].as_str().expect("a token"), "/me").await.problem(401);
    app.bearing(elsewhere["access_token"].as_str().expect("a token"), "/me").await.expect(200);
    refresh(&app, &elsewhere["refresh_token"]).await.expect(200);
}

#[tokio::test]
async fn tabs_that_refresh_at_once_get_one_successor() {
    let app = TestApp::new().await;
    somebody(&app, "ann@example.com").await;
    let token = tokens(&app, "ann@example.com").await["refresh_token"].clone();
    let answers = join_all((0..4).map(|_| refresh(&app, &token))).await;
    let successors: Vec<Value> = answers.iter().map(|answer| answer.expect(200)["refresh_token"].clone()).collect();
    assert!(successors.iter().all(|successor| *successor == successors[0]), "{successors:?}");
    let stored =
        app.stage.number("SELECT count(*) FROM refresh_tokens WHERE used_at IS NULL AND $1::uuid IS NOT NULL", Uuid::nil());
    // One of the log-in in somebody(), one here.
    assert_eq!(stored.await, 2);
}

#[tokio::test]
async fn an_expired_refresh_token_opens_nothing() {
    let app = TestApp::new().await;
    somebody(&app, "ann@example.com").await;
    let token = tokens(&app, "ann@example.com").await["refresh_token"].clone();
    app.stage.clock.advance(TimeDelta::seconds(app.stage.settings.auth.refresh_token_seconds));
    refresh(&app, &token).await.problem(401);
}

#[tokio::test]
async fn logging_out_ends_the_session_at_once() {
    let app = TestApp::new().await;
    let ann = somebody(&app, "ann@example.com").await;
    let other = tokens(&app, "ann@example.com").await;
    let other = Person { token: text(&other["access_token"]), ..ann.clone() };
    app.call(Some(&ann), Method::POST, "/auth/logout", None).await.expect(204);
    app.get(&ann, "/me").await.problem(401);
    app.get(&other, "/me").await.expect(200);
}

#[tokio::test]
async fn sessions_are_listed_and_ended_by_their_user_alone() {
    let app = TestApp::new().await;
    let (ann, eve) = (somebody(&app, "ann@example.com").await, somebody(&app, "eve@example.com").await);
    let agent = Request::post("/api/v1/auth/login")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, format!("Sample/1.0 {}", "x".repeat(400)));
    let body = json!({ "email": "ann@example.com", "password": PASSWORD }).to_string();
    let phone = app.send(agent.body(body.into()).expect("a request")).await.expect(200);
    let listed = app.get(&ann, "/auth/sessions").await.expect(200)["data"].clone();
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    assert!(listed[0]["user_agent"].as_str().is_some_and(|agent| agent.starts_with("Sample/1.0 x") && agent.len() == 300));
    assert_eq!((&listed[0]["current"], &listed[1]["current"]), (&json!(false), &json!(true)));

    let phone_session = format!("/auth/sessions/{}", text(&listed[0]["id"]));
    app.delete(&eve, &phone_session).await.problem(403);
    app.delete(&eve, &format!("/auth/sessions/{}", ann.session_id)).await.problem(403);
    app.delete(&eve, &format!("/auth/sessions/{}", Uuid::nil())).await.problem(404);
    app.bearing(phone["access_token"].as_str().expect("a token"), "/me").await.expect(200);
    app.delete(&ann, &phone_session).await.expect(204);
    app.bearing(phone["access_token"].as_str().expect("a token"), "/me").await.problem(401);

    tokens(&app, "ann@example.com").await;
    assert_eq!(app.delete(&ann, "/auth/sessions").await.expect(200)["ended"], 1);
    assert_eq!(app.get(&ann, "/auth/sessions").await.expect(200)["pagination"]["total"], 1);
    app.get(&eve, "/me").await.expect(200);
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions_and_needs_the_old_one() {
    let app = TestApp::new().await;
    let ann = somebody(&app, "ann@example.com").await;
    let other = tokens(&app, "ann@example.com").await;
    let change = |current: &str, new: &str| json!({ "current_password": current, "new_password": new });
    let field = |answer: Answer| text(&answer.problem(400)["errors"][0]["field"]);
    assert_eq!(field(app.put(&ann, "/auth/password", change("wrong", "staple battery horse")).await), "current_password");
    assert_eq!(field(app.put(&ann, "/auth/password", change(PASSWORD, "iloveyou")).await), "new_password");
    assert_eq!(field(app.put(&ann, "/auth/password", change(PASSWORD, "ann")).await), "new_password");
    app.put(&ann, "/auth/password", change(PASSWORD, "staple battery horse")).await.expect(204);
    app.get(&ann, "/me").await.expect(200);
    refresh(&app, &other["refresh_token"]).await.problem(401);
    app.log_in("ann@example.com", PASSWORD).await.problem(401);
    app.log_in("ann@example.com", "staple battery horse").await.expect(200);
}

#[tokio::test]
async fn ten_wrong_passwords_close_an_account_for_a_quarter_of_an_hour_whether_it_exists_or_not() {
    let app = TestApp::new().await;
    somebody(&app, "ann@example.com").await;
    for email in ["ann@example.com", "nobody@example.com"] {
        for _ in 0..10 {
            app.log_in(email, "wrong horse battery").await.problem(401);
        }
        let refused = app.log_in(email, PASSWORD).await;
        refused.problem(429);
        assert_eq!(refused.headers[header::RETRY_AFTER], "901");
    }
    app.stage.clock.advance(TimeDelta::minutes(15));
    app.log_in("Ann@Example.com", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn the_right_password_forgets_the_wrong_ones() {
    let app = TestApp::new().await;
    somebody(&app, "ann@example.com").await;
    for _ in 0..2 {
        for _ in 0..9 {
            app.log_in("ann@example.com", "wrong horse battery").await.problem(401);
        }
        app.log_in("ann@example.com", PASSWORD).await.expect(200);
    }
}

#[tokio::test]
async fn of_many_guesses_at_once_no_more_than_ten_reach_the_password() {
    let app = TestApp::new().await;
    somebody(&app, "ann@example.com").await;
    let answers = join_all((0..14).map(|_| app.log_in("ann@example.com", "wrong horse battery"))).await;
    let count = |status: u16| answers.iter().filter(|answer| answer.status.as_u16() == status).count();
    assert_eq!((count(401), count(429)), (10, 4));
}

#[tokio::test]
async fn a_flood_of_log_ins_is_turned_away_and_counts_as_no_wrong_password() {
    let app = TestApp::new().await;
    somebody(&app, "ann@example.com").await;
    let mut places = Vec::new();
    while let Ok(place) = app.state.sessions.passwords.enter() {
        places.push(place);
    }
    for _ in 0..11 {
        let busy = app.log_in("ann@example.com", "wrong horse battery").await;
        busy.problem(503);
        assert_eq!(busy.headers[header::RETRY_AFTER], "2");
    }
    drop(places);
    app.log_in("ann@example.com", PASSWORD).await.expect(200);
}
