//! Logging in, staying logged in, who am I.

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    accounts::{
        level::Level,
        log_in::Session,
        session::{self, Listed},
        user::{Change, Role, User},
    },
    members::profile,
    page::{Page, PageRequest},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    caller::{Caller, From},
    error::ApiResult,
    extract::{Json, Path, Query},
    front::etags::{IfMatch, Tagged},
    state::AppState,
};

/// `/auth` without mails, and `/me`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(log_in))
        .routes(routes!(refresh))
        .routes(routes!(log_out))
        .routes(routes!(sessions, end_other_sessions))
        .routes(routes!(end_session))
        .routes(routes!(change_password))
        .routes(routes!(me, change_me))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LogIn {
    #[schema(example = "ada@example.com")]
    email: String,
    #[schema(example = "correct horse battery")]
    password: String,
}

/// What a client keeps.
#[derive(Serialize, ToSchema)]
pub struct Tokens {
    /// For `Authorization: Bearer`.
    #[schema(example = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzYW1wbGUifQ.c2FtcGxl")]
    access_token: String,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds that the access token is good for.
    #[schema(example = 3600)]
    expires_in: i64,
    /// Good once, for new tokens.
    #[schema(example = "sample-refresh-token")]
    refresh_token: String,
}

impl std::convert::From<Session> for Tokens {
    fn from(session: Session) -> Self {
        let Session { access_token, expires_in, refresh_token } = session;
        Self { access_token, token_type: "Bearer", expires_in, refresh_token }
    }
}

/// Log in
///
/// After ten wrong passwords in a quarter of an hour the account waits, and the right one does not help.
#[utoipa::path(post, path = "/auth/login", operation_id = "log_in", tag = "accounts",
    responses((status = 200, description = "The tokens of a new session", body = Tokens),
        (status = 401, description = "the e-mail or the password is wrong"),
        (status = 503, description = "too many passwords are being checked; try again in 2 s")))]
async fn log_in(State(state): State<AppState>, From(device): From, Json(body): Json<LogIn>) -> ApiResult<Json<Tokens>> {
    Ok(Json(state.sessions.log_in(&state.pool, &body.email, &body.password, &device).await?.into()))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Refresh {
    #[schema(example = "sample-refresh-token")]
    refresh_token: String,
}

/// Stay logged in
///
/// The refresh token is good once. Shown again within ten seconds it answers with the same successor; after that it counts as stolen, and
/// its session is revoked.
#[utoipa::path(post, path = "/auth/refresh", operation_id = "refresh", tag = "accounts",
    responses((status = 200, description = "New tokens of the same session", body = Tokens),
        (status = 401, description = "the refresh token is not valid")))]
async fn refresh(State(state): State<AppState>, From(device): From, Json(body): Json<Refresh>) -> ApiResult<Json<Tokens>> {
    Ok(Json(state.sessions.refresh(&state.pool, &body.refresh_token, &device).await?.into()))
}

/// Log out
///
/// The session of this access token ends, with its refresh token.
#[utoipa::path(post, path = "/auth/logout", operation_id = "log_out", tag = "accounts", security(("bearer" = ["viewer"])),
    responses((status = 204, description = "The session has ended")))]
async fn log_out(State(state): State<AppState>, caller: Caller) -> ApiResult<StatusCode> {
    let (user_id, session_id) = (caller.standing.user_id, caller.standing.session_id);
    session::revoke(&mut *state.pool.acquire().await?, user_id, session_id, state.clock.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
struct SessionBody {
    id: Uuid,
    /// As the client called itself when it last logged in or refreshed.
    #[schema(example = "Mozilla/5.0 (X11; Linux x86_64)")]
    user_agent: String,
    /// Its address then; empty where it is not known.
    #[schema(example = "192.0.2.7")]
    ip: String,
    /// Whether this request belongs to it.
    current: bool,
    /// Its last log-in or refresh.
    last_used_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
}

impl SessionBody {
    fn new(session: Listed, current: Uuid) -> Self {
        let Listed { id, user_agent, ip, last_used_at, expires_at, created_at } = session;
        Self { id, user_agent, ip, current: id == current, last_used_at, expires_at, created_at }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SessionsQuery {
    page: Option<i64>,
    limit: Option<i64>,
}

/// My sessions
#[utoipa::path(get, path = "/auth/sessions", operation_id = "list_sessions", tag = "accounts", security(("bearer" = ["viewer"])),
    params(SessionsQuery), responses((status = 200, description = "A page of the caller's open sessions", body = Page<SessionBody>)))]
async fn sessions(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<SessionsQuery>,
) -> ApiResult<Json<Page<SessionBody>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    let page = session::page(&state.pool, caller.standing.user_id, state.clock.now(), request).await?;
    Ok(Json(page.map(|session| SessionBody::new(session, caller.standing.session_id))))
}

#[derive(Serialize, ToSchema)]
struct Ended {
    /// How many were open.
    #[schema(minimum = 0, example = 2)]
    ended: u64,
}

/// End all my other sessions
#[utoipa::path(delete, path = "/auth/sessions", operation_id = "end_other_sessions", tag = "accounts", security(("bearer" = ["viewer"])),
    responses((status = 200, description = "How many were ended", body = Ended)))]
async fn end_other_sessions(State(state): State<AppState>, caller: Caller) -> ApiResult<Json<Ended>> {
    let (user_id, this) = (caller.standing.user_id, Some(caller.standing.session_id));
    let ended = session::revoke_all(&mut *state.pool.acquire().await?, user_id, this, state.clock.now()).await?;
    Ok(Json(Ended { ended }))
}

/// End one of my sessions
#[utoipa::path(delete, path = "/auth/sessions/{id}", operation_id = "end_session", tag = "accounts", security(("bearer" = ["viewer"])),
    responses((status = 204, description = "It has ended")))]
async fn end_session(State(state): State<AppState>, caller: Caller, Path(id): Path<Uuid>) -> ApiResult<StatusCode> {
    session::revoke(&mut *state.pool.acquire().await?, caller.standing.user_id, id, state.clock.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    #[schema(example = "correct horse battery")]
    current_password: String,
    /// 8 to 128 characters, none of the common ones.
    #[schema(min_length = 8, max_length = 128, example = "staple battery horse")]
    new_password: String,
}

/// Change my password
///
/// All my other sessions end.
#[utoipa::path(put, path = "/auth/password", operation_id = "change_password", tag = "accounts", security(("bearer" = ["viewer"])),
    responses((status = 204, description = "It is changed"),
        (status = 503, description = "too many passwords are being checked; try again in 2 s")))]
async fn change_password(State(state): State<AppState>, caller: Caller, Json(body): Json<PasswordChange>) -> ApiResult<StatusCode> {
    let PasswordChange { current_password, new_password } = body;
    state.sessions.change_password(&state.pool, &caller.standing, &current_password, &new_password).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A workspace by name.
#[derive(Serialize, ToSchema)]
#[schema(as = WorkspaceName)]
pub struct WorkspaceName {
    /// Its id.
    pub id: Uuid,
    /// For people.
    #[schema(example = "Acme")]
    pub name: String,
}

#[derive(Serialize, ToSchema)]
struct Me {
    id: Uuid,
    #[schema(example = "ada@example.com")]
    email: String,
    #[schema(example = "Ada Lovelace")]
    name: String,
    role: Role,
    level: Level,
    /// Whether the address was shown to reach the user.
    email_verified: bool,
    /// Where the caller acts.
    workspace: WorkspaceName,
}

/// Who am I
#[utoipa::path(get, path = "/me", operation_id = "get_me", tag = "accounts", security(("bearer" = ["viewer"])),
    responses((status = 200, description = "The caller, and where it acts", body = Me)))]
async fn me(caller: Caller) -> Tagged<Me> {
    let Caller { standing, scope, workspace_name, .. } = caller;
    let me = Me {
        id: standing.user_id,
        email: standing.email,
        name: standing.name,
        role: standing.role,
        level: standing.level,
        email_verified: standing.email_verified_at.is_some(),
        workspace: WorkspaceName { id: scope.workspace_id, name: workspace_name },
    };
    Tagged(standing.updated_at, me)
}

impl std::convert::From<User> for Me {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            email: user.email,
            name: user.name,
            role: user.role,
            level: user.level,
            email_verified: user.email_verified_at.is_some(),
            workspace: WorkspaceName { id: user.workspace_id, name: user.workspace_name },
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MeChange {
    #[schema(max_length = 200, example = "Ada Lovelace")]
    name: Option<String>,
    /// A new one is asked by mail whether it is right.
    #[schema(example = "ada@example.com")]
    email: Option<String>,
    /// Needed to change the e-mail.
    #[schema(example = "correct horse battery")]
    password: Option<String>,
}

/// Change my name or my e-mail
#[utoipa::path(patch, path = "/me", operation_id = "change_me", tag = "accounts", security(("bearer" = ["viewer"])),
    responses((status = 200, description = "The caller", body = Me),
        (status = 409, description = "a user with the e-mail ada@example.com exists already"),
        (status = 503, description = "too many passwords are being checked; try again in 2 s")))]
async fn change_me(
    State(state): State<AppState>,
    caller: Caller,
    IfMatch(expected): IfMatch,
    Json(body): Json<MeChange>,
) -> ApiResult<Tagged<Me>> {
    let MeChange { name, email, password } = body;
    let change = Change { name, email, level: None };
    let (sessions, mail) = (&state.sessions, &state.settings.mail);
    let changed =
        profile::change_own(&state.pool, sessions, mail, &caller.standing, &expected, change, password.as_deref()).await?;
    Ok(Tagged(changed.updated_at, changed.into()))
}
