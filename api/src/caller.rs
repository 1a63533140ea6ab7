//! Who calls, and for which workspace. A handler that takes a `Caller` cannot be reached without credentials; one that takes an
//! [`Editor`], an [`Owner`] or an [`Admin`] cannot be reached below that level.

use std::ops::Deref;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, header, request::Parts},
};
use shared::{
    accounts::{
        level::Level,
        member::Actor,
        scope::Scope,
        session::{Device, Standing},
        user::Role,
        workspace,
    },
    error::{Error, Result},
};
use uuid::Uuid;

use crate::{error::ApiError, front::proxies::Visitor, state::AppState};

/// An admin's choice of workspace.
pub const WORKSPACE_ID: HeaderName = HeaderName::from_static("x-workspace-id");

/// A logged-in user: a viewer or more.
#[derive(Clone, Debug)]
pub struct Caller {
    /// User, session and the workspace where the user is at home.
    pub standing: Standing,
    /// Where the user acts: what finders ask.
    pub scope: Scope,
    /// Name of that workspace.
    pub workspace_name: String,
    /// Whether the request named the workspace, rather than leaving it to be the user's own.
    pub named_workspace: bool,
}

impl Caller {
    /// Who changes a member.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor { user_id: self.standing.user_id, scope: self.scope }
    }

    fn require(&self, level: Level) -> Result<()> {
        if self.scope.admin || self.standing.level >= level {
            return Ok(());
        }
        Err(Error::Forbidden(format!("this is for the level {level}, and yours is {}", self.standing.level)))
    }
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let standing = state.sessions.caller(&state.callers, bearer(&parts.headers)?).await?;
        Ok(in_workspace(state, standing, named(&parts.headers)?).await?)
    }
}

macro_rules! at_least {
    ($($(#[$doc:meta])* $name:ident: |$caller:ident| $check:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(Caller);

        impl Deref for $name {
            type Target = Caller;

            fn deref(&self) -> &Caller {
                &self.0
            }
        }

        impl FromRequestParts<AppState> for $name {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
                let $caller = Caller::from_request_parts(parts, state).await?;
                $check?;
                Ok(Self($caller))
            }
        }
    )*};
}

at_least! {
    /// Who writes contacts, lists, imports, campaigns and suppressions, and sends.
    Editor: |caller| caller.require(Level::Editor);
    /// Who manages members and the workspace.
    Owner: |caller| caller.require(Level::Owner);
    /// Who manages the house: relays, destinations, workspaces.
    Admin: |caller| if caller.scope.admin { Ok(()) } else { Err(Error::Forbidden("this is for admins".to_owned())) };
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

async fn in_workspace(state: &AppState, standing: Standing, named: Option<Uuid>) -> Result<Caller> {
    let admin = standing.role == Role::Admin;
    let (workspace_id, workspace_name) = match named {
        Some(id) if id != standing.workspace_id && admin => (id, workspace::find(&state.pool, id).await?.name),
        Some(id) if id != standing.workspace_id => return Err(Error::Forbidden(format!("workspace {id} is not yours"))),
        _ => (standing.workspace_id, standing.workspace_name.clone()),
    };
    Ok(Caller { scope: Scope { workspace_id, admin }, standing, workspace_name, named_workspace: named.is_some() })
}

/// From where somebody asks, as it is told to the user among its sessions.
#[derive(Clone, Debug)]
pub struct From(pub Device);

impl<S: Sync> FromRequestParts<S> for From {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let user_agent = parts.headers.get(header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let ip = parts.extensions.get::<Visitor>().map(|visitor| visitor.ip.to_string());
        Ok(Self(Device { user_agent: user_agent.unwrap_or_default(), ip: ip.unwrap_or_default() }))
    }
}
