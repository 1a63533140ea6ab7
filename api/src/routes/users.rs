//! Members of a workspace and who is invited into it.

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    accounts::{
        level::Level,
        member,
        register::Registration,
        user::{self, Change, Filter, Role, User},
    },
    database,
    members::{
        invitation::{self, Invitation},
        profile, sign_up,
    },
    page::{Page, PageRequest},
    queue::lane::Lane,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::accounts::WorkspaceName;
use crate::{
    caller::{Admin, Caller, Owner},
    error::ApiResult,
    extract::{Json, Path, Query},
    front::etags::{IfMatch, Tagged},
    state::AppState,
};

/// `/users`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(page, create))
        .routes(routes!(invite))
        .routes(routes!(invitations))
        .routes(routes!(revoke))
        .routes(routes!(resend))
        .routes(routes!(one, change))
        .routes(routes!(disable))
        .routes(routes!(enable))
}

/// A user as it is told.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserBody {
    id: Uuid,
    #[schema(example = "ada@example.com")]
    email: String,
    #[schema(example = "Ada Lovelace")]
    name: String,
    role: Role,
    level: Level,
    /// Whether the address was shown to reach the user.
    email_verified: bool,
    disabled_at: Option<DateTime<Utc>>,
    workspace: WorkspaceName,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<User> for UserBody {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            email: user.email,
            name: user.name,
            role: user.role,
            level: user.level,
            email_verified: user.email_verified_at.is_some(),
            disabled_at: user.disabled_at,
            workspace: WorkspaceName { id: user.workspace_id, name: user.workspace_name },
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    #[schema(example = "ada@example.com")]
    email: String,
    /// 8 to 128 characters, none of the common ones.
    #[schema(min_length = 8, max_length = 128, example = "correct horse battery")]
    password: String,
    #[serde(default)]
    #[schema(max_length = 200, example = "Ada Lovelace")]
    name: String,
    #[serde(default = "client")]
    role: Role,
    #[serde(default = "owner")]
    level: Level,
    /// Absent: a new one.
    workspace_id: Option<Uuid>,
}

fn client() -> Role {
    Role::Client
}

fn owner() -> Level {
    Level::Owner
}

/// Make a user with a password
#[utoipa::path(post, path = "/users", operation_id = "create_user", tag = "accounts", security(("bearer" = ["admin"])),
    responses((status = 201, description = "The user", body = UserBody),
        (status = 409, description = "a user with the e-mail ada@example.com exists already"),
        (status = 503, description = "too many passwords are being checked; try again in 2 s")))]
async fn create(State(state): State<AppState>, _: Admin, Json(body): Json<NewUser>) -> ApiResult<(StatusCode, Json<UserBody>)> {
    let NewUser { email, password, name, role, level, workspace_id } = body;
    let registration = Registration { email, name, password, role, level, workspace_id, workspace_name: None };
    let (passwords, mail) = (&state.sessions.passwords, &state.settings.mail);
    let user = sign_up::sign_up(&state.pool, passwords, mail, registration, state.clock.now()).await?;
    state.ring(Lane::Critical);
    Ok((StatusCode::CREATED, Json(user.into())))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UsersQuery {
    page: Option<i64>,
    limit: Option<i64>,
    /// Part of the address or the name.
    #[serde(default)]
    search: String,
}

/// Members of the workspace
///
/// For an admin who names no workspace: all users.
#[utoipa::path(get, path = "/users", operation_id = "list_users", tag = "accounts", security(("bearer" = ["viewer"])),
    params(UsersQuery), responses((status = 200, description = "A page of users", body = Page<UserBody>)))]
async fn page(State(state): State<AppState>, caller: Caller, Query(query): Query<UsersQuery>) -> ApiResult<Json<Page<UserBody>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    let everywhere = caller.scope.admin && !caller.named_workspace;
    let filter = Filter { workspace_id: (!everywhere).then_some(caller.scope.workspace_id), search: query.search };
    Ok(Json(user::page(&state.pool, &filter, request).await?.map(UserBody::from)))
}

/// One member
#[utoipa::path(get, path = "/users/{id}", operation_id = "get_user", tag = "accounts", security(("bearer" = ["viewer"])),
    responses((status = 200, description = "The user", body = UserBody)))]
async fn one(State(state): State<AppState>, caller: Caller, Path(id): Path<Uuid>) -> ApiResult<Tagged<UserBody>> {
    let found = user::visible(&state.pool, caller.scope, id).await?;
    Ok(Tagged(found.updated_at, found.into()))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserChange {
    #[schema(max_length = 200, example = "Ada Lovelace")]
    name: Option<String>,
    /// For admins; users change their own at `/me`.
    #[schema(example = "ada@example.com")]
    email: Option<String>,
    level: Option<Level>,
}

/// Change a member
#[utoipa::path(patch, path = "/users/{id}", operation_id = "change_user", tag = "accounts", security(("bearer" = ["owner"])),
    responses((status = 200, description = "The user", body = UserBody),
        (status = 409, description = "ada@example.com is the last owner of the workspace \"Acme\": make somebody else an owner first")))]
async fn change(
    State(state): State<AppState>,
    caller: Owner,
    Path(id): Path<Uuid>,
    IfMatch(expected): IfMatch,
    Json(body): Json<UserChange>,
) -> ApiResult<Tagged<UserBody>> {
    let UserChange { name, email, level } = body;
    let change = Change { name, email, level };
    let changed =
        profile::change(&state.pool, &state.settings.mail, caller.actor(), id, &expected, change, state.clock.now()).await?;
    Ok(Tagged(changed.updated_at, changed.into()))
}

/// Disable a member
///
/// Its sessions end at once, and it logs in no more.
#[utoipa::path(post, path = "/users/{id}/disable", operation_id = "disable_user", tag = "accounts", security(("bearer" = ["owner"])),
    responses((status = 200, description = "The user", body = UserBody),
        (status = 409, description = "nobody disables itself: ask another owner")))]
async fn disable(State(state): State<AppState>, caller: Owner, Path(id): Path<Uuid>) -> ApiResult<Json<UserBody>> {
    let mut transaction = database::begin(&state.pool).await?;
    let disabled = member::disable(&mut transaction, caller.actor(), id, state.clock.now()).await?;
    transaction.commit().await?;
    Ok(Json(disabled.into()))
}

/// Let a member log in again
#[utoipa::path(post, path = "/users/{id}/enable", operation_id = "enable_user", tag = "accounts", security(("bearer" = ["owner"])),
    responses((status = 200, description = "The user", body = UserBody)))]
async fn enable(State(state): State<AppState>, caller: Owner, Path(id): Path<Uuid>) -> ApiResult<Json<UserBody>> {
    let mut transaction = database::begin(&state.pool).await?;
    let enabled = member::enable(&mut transaction, caller.actor(), id).await?;
    transaction.commit().await?;
    Ok(Json(enabled.into()))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewInvitation {
    #[schema(example = "grace@example.com")]
    email: String,
    level: Level,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Invitation)]
struct InvitationBody {
    id: Uuid,
    #[schema(example = "grace@example.com")]
    email: String,
    level: Level,
    /// Address of whoever invited.
    #[schema(example = "ada@example.com")]
    invited_by: String,
    workspace: WorkspaceName,
    expires_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
}

impl From<Invitation> for InvitationBody {
    fn from(invitation: Invitation) -> Self {
        let Invitation { id, workspace_id, workspace_name, email, level, invited_by, expires_at, created_at } = invitation;
        Self {
            id,
            email,
            level,
            invited_by,
            workspace: WorkspaceName { id: workspace_id, name: workspace_name },
            expires_at,
            created_at,
        }
    }
}

/// Invite somebody
///
/// The link in the mail is good for seven days.
#[utoipa::path(post, path = "/users/invite", operation_id = "invite_user", tag = "accounts", security(("bearer" = ["owner"])),
    responses((status = 201, description = "The invitation; the mail is on its way", body = InvitationBody),
        (status = 409, description = "a user with the e-mail grace@example.com exists already")))]
async fn invite(
    State(state): State<AppState>,
    caller: Owner,
    Json(body): Json<NewInvitation>,
) -> ApiResult<(StatusCode, Json<InvitationBody>)> {
    let NewInvitation { email, level } = body;
    let invited = invitation::invite(&state.pool, &state.settings.mail, caller.actor(), &email, level, state.clock.now()).await?;
    state.ring(Lane::Critical);
    Ok((StatusCode::CREATED, Json(invited.into())))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct InvitationsQuery {
    page: Option<i64>,
    limit: Option<i64>,
}

/// Open invitations
#[utoipa::path(get, path = "/users/invitations", operation_id = "list_invitations", tag = "accounts", security(("bearer" = ["owner"])),
    params(InvitationsQuery), responses((status = 200, description = "A page of invitations", body = Page<InvitationBody>)))]
async fn invitations(
    State(state): State<AppState>,
    caller: Owner,
    Query(query): Query<InvitationsQuery>,
) -> ApiResult<Json<Page<InvitationBody>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    Ok(Json(invitation::page(&state.pool, caller.scope, request).await?.map(InvitationBody::from)))
}

/// Send an invitation again
///
/// With a new link; the one before is void.
#[utoipa::path(post, path = "/users/invitations/{id}/resend", operation_id = "resend_invitation", tag = "accounts",
    security(("bearer" = ["owner"])),
    responses((status = 200, description = "The invitation; the mail is on its way", body = InvitationBody),
        (status = 409, description = "the invitation 01936f2a-7c1e-7a3b-9c4d-5e6f70818293 is accepted or revoked")))]
async fn resend(State(state): State<AppState>, caller: Owner, Path(id): Path<Uuid>) -> ApiResult<Json<InvitationBody>> {
    let sent = invitation::resend(&state.pool, &state.settings.mail, caller.scope, id, state.clock.now()).await?;
    state.ring(Lane::Critical);
    Ok(Json(sent.into()))
}

/// Take an invitation back
#[utoipa::path(delete, path = "/users/invitations/{id}", operation_id = "revoke_invitation", tag = "accounts",
    security(("bearer" = ["owner"])),
    responses((status = 204, description = "Its link is void"),
        (status = 409, description = "the invitation 01936f2a-7c1e-7a3b-9c4d-5e6f70818293 is accepted")))]
async fn revoke(State(state): State<AppState>, caller: Owner, Path(id): Path<Uuid>) -> ApiResult<StatusCode> {
    invitation::revoke(&state.pool, caller.scope, id, state.clock.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
