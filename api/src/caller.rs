//! Who calls, and for which workspace. A handler that takes a `Caller` cannot be reached without credentials.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, header, request::Parts},
};
use shared::{
    accounts::{
        scope::Scope,
        user::{Role, User},
        workspace,
    },
    error::{Error, Result},
};
use uuid::Uuid;

use crate::{error::ApiError, state::AppState};

/// An admin's choice of workspace.
pub const WORKSPACE_ID: HeaderName = HeaderName::from_static("x-workspace-id");

/// A logged-in user.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub user_id: Uuid,
    /// The user's address.
    pub email: String,
    /// What the user may do.
    pub role: Role,
    /// Where the user acts: what finders ask.
    pub scope: Scope,
    /// Name of that workspace.
    pub workspace_name: String,
    /// Whether the request named the workspace, rather than leaving it to be the user's own.
    pub named_workspace: bool,
}

impl Caller {
    /// # Errors
    /// 403: the user is not an admin.
    pub fn require_admin(&self) -> Result<()> {
        match self.role {
            Role::Admin => Ok(()),
            Role::Client => Err(Error::Forbidden("this is for admins".to_owned())),
        }
    }
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let user = state.sessions.caller(&state.pool, bearer(&parts.headers)?).await?;
        Ok(in_workspace(state, user, named(&parts.headers)?).await?)
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str> {
    let value = headers.get(header::AUTHORIZATION).ok_or(Error::Unauthorized("an access token is needed"))?;
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .ok_or(Error::Unauthorized("the Authorization header must be: Bearer, a space, the access token"))?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Error::Unauthorized("the Authorization header must be: Bearer, a space, the access token"));
    }
    Ok(token.trim())
}

fn named(headers: &HeaderMap) -> Result<Option<Uuid>> {
    let Some(value) = headers.get(WORKSPACE_ID) else { return Ok(None) };
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| Error::invalid("X-Workspace-Id", format!("{value:?} is not a UUID")))
}

async fn in_workspace(state: &AppState, user: User, named: Option<Uuid>) -> Result<Caller> {
    let (workspace_id, workspace_name) = match named {
        None => (user.workspace_id, user.workspace_name),
        Some(id) if id == user.workspace_id => (id, user.workspace_name),
        Some(id) if user.role == Role::Admin => (id, workspace::find(&state.pool, id).await?.name),
        Some(id) => return Err(Error::Forbidden(format!("workspace {id} is not yours"))),
    };
    let scope = Scope { workspace_id, admin: user.role == Role::Admin };
    Ok(Caller { user_id: user.id, email: user.email, role: user.role, scope, workspace_name, named_workspace: named.is_some() })
}
