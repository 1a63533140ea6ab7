//! Logging in, who am I, and making workspaces and users.

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::accounts::{
    register::{self, Registration},
    session::Session,
    user::{Role, User},
    workspace::{self, Workspace},
};
use uuid::Uuid;

use crate::{caller::Caller, error::ApiResult, extract::Json, state::AppState};

/// `/auth`, `/me`, `/workspaces` and `/users`.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/auth/login", post(log_in))
        .route("/auth/refresh", post(refresh))
        .route("/me", get(me))
        .route("/workspaces", post(create_workspace))
        .route("/users", post(create_user))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogIn {
    email: String,
    password: String,
}

#[derive(Serialize)]
struct Tokens {
    access_token: String,
    token_type: &'static str,
    expires_in: i64,
    refresh_token: String,
}

impl From<Session> for Tokens {
    fn from(session: Session) -> Self {
        let Session { access_token, expires_in, refresh_token } = session;
        Self { access_token, token_type: "Bearer", expires_in, refresh_token }
    }
}

async fn log_in(State(state): State<AppState>, Json(body): Json<LogIn>) -> ApiResult<Json<Tokens>> {
    Ok(Json(state.sessions.log_in(&state.pool, &body.email, &body.password).await?.into()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refresh {
    refresh_token: String,
}

async fn refresh(State(state): State<AppState>, Json(body): Json<Refresh>) -> ApiResult<Json<Tokens>> {
    Ok(Json(state.sessions.refresh(&state.pool, &body.refresh_token).await?.into()))
}

#[derive(Serialize)]
struct WorkspaceName {
    id: Uuid,
    name: String,
}

#[derive(Serialize)]
struct Me {
    id: Uuid,
    email: String,
    role: Role,
    workspace: WorkspaceName,
}

async fn me(caller: Caller) -> Json<Me> {
    let workspace = WorkspaceName { id: caller.scope.workspace_id, name: caller.workspace_name };
    Json(Me { id: caller.user_id, email: caller.email, role: caller.role, workspace })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewWorkspace {
    name: String,
}

#[derive(Serialize)]
struct WorkspaceBody {
    id: Uuid,
    name: String,
    created_at: DateTime<Utc>,
}

impl From<Workspace> for WorkspaceBody {
    fn from(workspace: Workspace) -> Self {
        let Workspace { id, name, created_at } = workspace;
        Self { id, name, created_at }
    }
}

async fn create_workspace(
    State(state): State<AppState>,
    caller: Caller,
    Json(body): Json<NewWorkspace>,
) -> ApiResult<(StatusCode, Json<WorkspaceBody>)> {
    caller.require_admin()?;
    let created = workspace::create(&mut *state.pool.acquire().await?, &body.name).await?;
    Ok((StatusCode::CREATED, Json(created.into())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    email: String,
    password: String,
    #[serde(default = "client")]
    role: Role,
    workspace_id: Option<Uuid>,
}

fn client() -> Role {
    Role::Client
}

#[derive(Serialize)]
struct UserBody {
    id: Uuid,
    email: String,
    role: Role,
    workspace: WorkspaceName,
    created_at: DateTime<Utc>,
}

impl From<User> for UserBody {
    fn from(user: User) -> Self {
        let workspace = WorkspaceName { id: user.workspace_id, name: user.workspace_name };
        Self { id: user.id, email: user.email, role: user.role, workspace, created_at: user.created_at }
    }
}

async fn create_user(
    State(state): State<AppState>,
    caller: Caller,
    Json(body): Json<NewUser>,
) -> ApiResult<(StatusCode, Json<UserBody>)> {
    caller.require_admin()?;
    let NewUser { email, password, role, workspace_id } = body;
    let registration = Registration { email, password, role, workspace_id, workspace_name: None };
    let user = register::register(&state.pool, &state.sessions.passwords, registration).await?;
    Ok((StatusCode::CREATED, Json(user.into())))
}
