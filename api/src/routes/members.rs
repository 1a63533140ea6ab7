//! What needs no credentials: coming in, and what links in our mails do.

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use shared::{
    accounts::{level::Level, register::Registration, user::Role},
    error::Error,
    members::{invitation, reset, sign_up, verification},
    queue::lane::Lane,
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::users::UserBody;
use crate::{caller::Caller, error::ApiResult, extract::Json, state::AppState};

/// `/auth`, as far as it has to do with mails.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(verify))
        .routes(routes!(resend))
        .routes(routes!(forgot))
        .routes(routes!(set_password))
        .routes(routes!(accept))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAccount)]
struct Register {
    #[schema(example = "ada@example.com")]
    email: String,
    /// 8 to 128 characters, none of the common ones.
    #[schema(min_length = 8, max_length = 128, example = "correct horse battery")]
    password: String,
    #[serde(default)]
    #[schema(max_length = 200, example = "Ada Lovelace")]
    name: String,
    /// Absent: as the e-mail.
    #[schema(min_length = 1, max_length = 200, pattern = r"\S", example = "Acme")]
    workspace_name: Option<String>,
}

/// Register
///
/// Makes a workspace and its owner, and asks by mail whether the address is right.
#[utoipa::path(post, path = "/auth/register", operation_id = "register", tag = "accounts",
    responses((status = 201, description = "The user", body = UserBody),
        (status = 403, description = "nobody registers here: ask an owner for an invitation"),
        (status = 409, description = "a user with the e-mail ada@example.com exists already"),
        (status = 503, description = "too many passwords are being checked; try again in 2 s")))]
async fn register(State(state): State<AppState>, Json(body): Json<Register>) -> ApiResult<(StatusCode, Json<UserBody>)> {
    if !state.settings.auth.open_registration {
        return Err(Error::Forbidden("nobody registers here: ask an owner for an invitation".to_owned()).into());
    }
    let Register { email, password, name, workspace_name } = body;
    let registration =
        Registration { email, name, password, role: Role::Client, level: Level::Owner, workspace_id: None, workspace_name };
    let (passwords, mail) = (&state.sessions.passwords, &state.settings.mail);
    let user = sign_up::sign_up(&state.pool, passwords, mail, registration, state.clock.now()).await?;
    state.ring(Lane::Critical);
    Ok((StatusCode::CREATED, Json(user.into())))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MailToken)]
struct Token {
    /// From the link in the mail.
    #[schema(example = "AZP1sample-token-from-the-mail")]
    token: String,
}

#[derive(Serialize, ToSchema)]
struct Verified {
    /// The address that reaches the user.
    #[schema(example = "ada@example.com")]
    email: String,
}

/// Verify an e-mail
#[utoipa::path(post, path = "/auth/verify-email", operation_id = "verify_email", tag = "accounts",
    responses((status = 200, description = "The address is verified", body = Verified)))]
async fn verify(State(state): State<AppState>, Json(body): Json<Token>) -> ApiResult<Json<Verified>> {
    let email = verification::verify(&state.pool, &state.links, &state.settings.mail, &body.token, state.clock.now()).await?;
    state.ring(Lane::Critical);
    Ok(Json(Verified { email }))
}

/// Send me the verification mail again
#[utoipa::path(post, path = "/auth/verify-email/resend", operation_id = "resend_verification", tag = "accounts",
    security(("bearer" = ["viewer"])),
    responses((status = 202, description = "The mail is on its way; links before it are void"),
        (status = 409, description = "the e-mail ada@example.com is verified")))]
async fn resend(State(state): State<AppState>, caller: Caller) -> ApiResult<StatusCode> {
    verification::resend(&state.pool, &state.settings.mail, caller.standing.user_id, state.clock.now()).await?;
    state.ring(Lane::Critical);
    Ok(StatusCode::ACCEPTED)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Forgot {
    #[schema(example = "ada@example.com")]
    email: String,
}

/// Ask for a new password
///
/// The answer is the same whether the address has an account or not.
#[utoipa::path(post, path = "/auth/password/forgot", operation_id = "forgot_password", tag = "accounts",
    responses((status = 202, description = "If the address has an account, a mail is on its way; links before it are void")))]
async fn forgot(State(state): State<AppState>, Json(body): Json<Forgot>) -> ApiResult<StatusCode> {
    reset::ask(&state.pool, &state.settings.mail, &body.email, state.clock.now()).await?;
    state.ring(Lane::Critical);
    Ok(StatusCode::ACCEPTED)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    /// From the link in the mail.
    #[schema(example = "AZP1sample-token-from-the-mail")]
    token: String,
    /// 8 to 128 characters, none of the common ones.
    #[schema(min_length = 8, max_length = 128, example = "staple battery horse")]
    password: String,
}

/// Set a new password
///
/// All sessions of the user end.
#[utoipa::path(post, path = "/auth/password/reset", operation_id = "reset_password", tag = "accounts",
    responses((status = 204, description = "It is set"),
        (status = 503, description = "too many passwords are being checked; try again in 2 s")))]
async fn set_password(State(state): State<AppState>, Json(body): Json<NewPassword>) -> ApiResult<StatusCode> {
    let (passwords, now) = (&state.sessions.passwords, state.clock.now());
    reset::reset(&state.pool, &state.links, passwords, &body.token, &body.password, now).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AcceptInvitation)]
struct Accept {
    /// From the link in the mail.
    #[schema(example = "AZP1sample-token-from-the-mail")]
    token: String,
    #[serde(default)]
    #[schema(max_length = 200, example = "Grace Hopper")]
    name: String,
    /// 8 to 128 characters, none of the common ones.
    #[schema(min_length = 8, max_length = 128, example = "staple battery horse")]
    password: String,
}

/// Accept an invitation
#[utoipa::path(post, path = "/auth/invitations/accept", operation_id = "accept_invitation", tag = "accounts",
    responses((status = 201, description = "The user, who can log in now", body = UserBody),
        (status = 409, description = "a user with the e-mail grace@example.com exists already"),
        (status = 503, description = "too many passwords are being checked; try again in 2 s")))]
async fn accept(State(state): State<AppState>, Json(body): Json<Accept>) -> ApiResult<(StatusCode, Json<UserBody>)> {
    let Accept { token, name, password } = body;
    let (passwords, now) = (&state.sessions.passwords, state.clock.now());
    let user = invitation::accept(&state.pool, &state.links, passwords, &token, name, password, now).await?;
    state.ring(Lane::Critical);
    Ok((StatusCode::CREATED, Json(user.into())))
}
