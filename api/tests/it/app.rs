//! A front of its own for every test, and people who call it.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use http_body_util::BodyExt;
use mochila_api::AppState;
use serde_json::Value;
use shared::{
    accounts::{
        level::Level,
        session::{self, Device},
        user::{self, NewUser, Role},
    },
    settings::{Limits, Settings},
    testing::Stage,
};
use tower::ServiceExt;
use uuid::Uuid;

use crate::contract::{self, Sent};

/// The front with its own database, key prefix and clock.
pub struct TestApp {
    /// The real parts: pool, settings, clock.
    pub stage: Stage,
    /// What the handlers share.
    pub state: AppState,
    router: Router,
}

/// Somebody who is logged in.
#[derive(Clone, Debug)]
pub struct Person {
    pub user_id: Uuid,
    pub session_id: Uuid,
    pub workspace_id: Uuid,
    pub email: String,
    pub token: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body, which must be JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The body, whose status must be this one.
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// A problem document with this status, with its changing request id taken out.
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.headers.get(header::CONTENT_TYPE).expect("a content type"), "application/problem+json");
        let mut problem = self.expect(status);
        let id = problem.as_object_mut().expect("an object").remove("request_id").expect("a request id");
        assert_eq!(id.as_str(), self.headers.get("x-request-id").map(|value| value.to_str().expect("ASCII")));
        problem
    }
}

/// A test is one client that asks a great deal.
fn unlimited(limits: &mut Limits) {
    const MANY: u32 = 1_000_000;
    *limits = Limits {
        general_per_minute: MANY,
        login_per_minute: MANY,
        refresh_per_minute: MANY,
        send_per_minute: MANY,
        message_per_minute: MANY,
        poll_per_minute: MANY,
        link_per_minute: MANY,
        docs_per_minute: MANY,
        redis_timeout_ms: 30_000,
        ..*limits
    };
}

impl TestApp {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With settings changed.
    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut stage = Stage::new().await;
        unlimited(&mut stage.settings.limits);
        change(&mut stage.settings);
        let state = AppState::new(stage.pool.clone(), stage.settings.clone(), stage.clock.clone()).expect("the settings are good");
        Self { stage, router: mochila_api::router(state.clone()), state }
    }

    /// The same front over other parts.
    pub fn over(self, state: AppState) -> Self {
        Self { stage: self.stage, router: mochila_api::router(state.clone()), state }
    }

    /// The same front under other settings.
    pub fn use_settings(&mut self, settings: std::sync::Arc<shared::settings::Settings>) {
        self.state = self.state.clone().with(|parts| parts.settings = settings);
        self.router = mochila_api::router(self.state.clone());
    }

    /// An admin with a workspace of its own.
    pub async fn admin(&self) -> Person {
        let workspace = self.stage.workspace("Headquarters").await;
        self.person(workspace, Role::Admin, Level::Owner).await
    }

    /// An owner of this workspace.
    pub async fn client(&self, workspace_id: Uuid) -> Person {
        self.member(workspace_id, Level::Owner).await
    }

    /// A member of this workspace.
    pub async fn member(&self, workspace_id: Uuid, level: Level) -> Person {
        self.person(workspace_id, Role::Client, level).await
    }

    /// An owner with a workspace of its own.
    pub async fn somebody(&self) -> Person {
        let workspace = self.stage.workspace("Acme").await;
        self.client(workspace).await
    }

    async fn person(&self, workspace_id: Uuid, role: Role, level: Level) -> Person {
        let email = format!("{}@example.com", Uuid::now_v7().simple());
        let mut connection = self.stage.pool.acquire().await.expect("a connection");
        let new = NewUser {
            workspace_id,
            email: email.clone(),
            name: String::new(),
            password_hash: "no password fits".to_owned(),
            role,
            level,
            email_verified_at: None,
        };
        let user_id = user::create(&mut connection, new).await.expect("a user");
        let (now, ages) = (self.stage.clock.now(), chrono::TimeDelta::days(365));
        let session_id = session::create(&mut connection, user_id, &Device::default(), now, now + ages).await.expect("a session");
        let token = self.state.sessions.tokens.issue(user_id, session_id).expect("a token");
        Person { user_id, session_id, workspace_id, email, token }
    }

    pub async fn get(&self, person: &Person, path: &str) -> Answer {
        self.call(Some(person), Method::GET, path, None).await
    }

    pub async fn post(&self, person: &Person, path: &str, body: Value) -> Answer {
        self.call(Some(person), Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, person: &Person, path: &str, body: Value) -> Answer {
        self.call(Some(person), Method::PUT, path, Some(body)).await
    }

    pub async fn patch(&self, person: &Person, path: &str, body: Value) -> Answer {
        self.call(Some(person), Method::PATCH, path, Some(body)).await
    }

    pub async fn delete(&self, person: &Person, path: &str) -> Answer {
        self.call(Some(person), Method::DELETE, path, None).await
    }

    /// A request with or without credentials; paths begin after `/api/v1`.
    pub async fn call(&self, person: Option<&Person>, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        if let Some(person) = person {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", person.token));
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).expect("a request")).await
    }

    /// A request without credentials; the path is whole.
    pub async fn bare(&self, method: Method, path: &str) -> Answer {
        self.send(Request::builder().method(method).uri(path).body(Body::empty()).expect("a request")).await
    }

    /// A GET with any token.
    pub async fn bearing(&self, token: &str, path: &str) -> Answer {
        let request = Request::get(format!("/api/v1{path}")).header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.send(request.body(Body::empty()).expect("a request")).await
    }

    pub async fn log_in(&self, email: &str, password: &str) -> Answer {
        let body = serde_json::json!({ "email": email, "password": password });
        self.call(None, Method::POST, "/auth/login", Some(body)).await
    }

    /// Any request at all. The answer must be one that the document promises.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        Self::answer(self.router.clone(), request).await
    }

    /// What this front answers.
    pub async fn answer(router: Router, request: Request<Body>) -> Answer {
        let (head, body) = request.into_parts();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let passed = Arc::clone(&seen);
        let body = Body::new(body.map_frame(move |frame| {
            passed.lock().expect("nobody panicked").extend(frame.data_ref().into_iter().flatten());
            frame
        }));
        let response = router.oneshot(Request::from_parts(head.clone(), body)).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes().to_vec();
        let seen = seen.lock().expect("nobody panicked");
        let sent = Sent { method: &head.method, path: head.uri.path(), headers: &head.headers, body: &seen };
        contract::check(&sent, parts.status, &parts.headers, &body);
        drop(seen);
        Answer { status: parts.status, headers: parts.headers, body }
    }
}
