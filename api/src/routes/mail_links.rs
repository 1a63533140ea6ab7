//! What people see behind the links in mails about their accounts. Looking changes nothing, since mail programs and scanners look too:
//! only the button does. The pages do what `/auth` does, for browsers.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use shared::{
    error::Error,
    members::{invitation, reset, verification},
    queue::lane::Lane,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    error::{ApiError, ApiResult},
    extract::{Form, Query},
    page::{escaped, page},
    state::AppState,
};

/// `/verify-email`, `/reset-password` and `/accept-invitation`, outside of `/api/v1`: they stand in mails.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(ask_to_verify, verify))
        .routes(routes!(ask_for_password, set_password))
        .routes(routes!(ask_to_accept, accept))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Link {
    /// Stands in the mail.
    #[serde(default)]
    token: String,
}

/// The page that confirms an e-mail
#[utoipa::path(get, path = "/verify-email", operation_id = "show_verify_email", tag = "service", params(Link),
    responses((status = 200, description = "A page with a button", body = String, content_type = "text/html"),
              (status = 404, description = "The link is not good", body = String, content_type = "text/html")))]
async fn ask_to_verify(State(state): State<AppState>, Query(link): Query<Link>) -> ApiResult<Response> {
    let found = verification::look(&state.pool, &state.links, &link.token, state.clock.now()).await;
    let ask = |email: String| {
        let text = format!("<p>Is <strong>{}</strong> your address?</p>", escaped(&email));
        form(StatusCode::OK, "Confirm your e-mail", None, &text, "", "Yes, confirm")
    };
    found.map(ask).or_else(unusable)
}

/// Confirm an e-mail
#[utoipa::path(post, path = "/verify-email", operation_id = "submit_verify_email", tag = "service", params(Link),
    responses((status = 200, description = "It is confirmed", body = String, content_type = "text/html"),
              (status = 404, description = "The link is not good", body = String, content_type = "text/html")))]
async fn verify(State(state): State<AppState>, Query(link): Query<Link>) -> ApiResult<Response> {
    let verified = verification::verify(&state.pool, &state.links, &state.settings.mail, &link.token, state.clock.now()).await;
    state.ring(Lane::Critical);
    let tell =
        |email: String| done("E-mail confirmed", &format!("<p>Mail to <strong>{}</strong> reaches you.</p>", escaped(&email)));
    verified.map(tell).or_else(unusable)
}

const PASSWORD: &str = "<label for=\"password\">New password, 8 characters or more</label>\
    <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"new-password\" minlength=\"8\" maxlength=\"128\" required>";
const NAME: &str = "<label for=\"name\">Your name</label><input id=\"name\" name=\"name\" autocomplete=\"name\" maxlength=\"200\">";

fn password_form(status: StatusCode, wrong: Option<&str>, email: &str) -> Response {
    let text = format!("<p>For the account of <strong>{}</strong>. You will be logged out everywhere.</p>", escaped(email));
    form(status, "Set a new password", wrong, &text, PASSWORD, "Set password")
}

/// The page that sets a new password
#[utoipa::path(get, path = "/reset-password", operation_id = "show_reset_password", tag = "service", params(Link),
    responses((status = 200, description = "A page with a form", body = String, content_type = "text/html"),
              (status = 404, description = "The link is not good", body = String, content_type = "text/html")))]
async fn ask_for_password(State(state): State<AppState>, Query(link): Query<Link>) -> ApiResult<Response> {
    let found = reset::look(&state.pool, &state.links, &link.token, state.clock.now()).await;
    found.map(|email| password_form(StatusCode::OK, None, &email)).or_else(unusable)
}

/// Set a new password
#[utoipa::path(post, path = "/reset-password", operation_id = "submit_reset_password", tag = "service", params(Link),
    request_body(content = PasswordForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "It is set", body = String, content_type = "text/html"),
              (status = 400, description = "The form again, with what is wrong in it", body = String, content_type = "text/html"),
              (status = 404, description = "The link is not good", body = String, content_type = "text/html")))]
async fn set_password(State(state): State<AppState>, Query(link): Query<Link>, Form(body): Form) -> ApiResult<Response> {
    let (password, now) = (field(&body, "password"), state.clock.now());
    match reset::reset(&state.pool, &state.links, &state.sessions.passwords, &link.token, &password, now).await {
        Ok(_) => Ok(done("Password set", "<p>You can log in with your new password now.</p>")),
        Err(error) => match (reset::look(&state.pool, &state.links, &link.token, now).await, mended(&error)) {
            (Ok(email), Some(wrong)) => Ok(password_form(StatusCode::BAD_REQUEST, Some(&wrong), &email)),
            _ => unusable(error),
        },
    }
}

/// The page that joins a workspace
#[utoipa::path(get, path = "/accept-invitation", operation_id = "show_accept_invitation", tag = "service", params(Link),
    responses((status = 200, description = "A page with a form", body = String, content_type = "text/html"),
              (status = 404, description = "The link is not good", body = String, content_type = "text/html")))]
async fn ask_to_accept(State(state): State<AppState>, Query(link): Query<Link>) -> ApiResult<Response> {
    let found = invitation::look(&state.pool, &state.links, &link.token, state.clock.now()).await;
    found.map(|invitation| invitation_form(StatusCode::OK, None, &invitation)).or_else(unusable)
}

fn invitation_form(status: StatusCode, wrong: Option<&str>, invitation: &invitation::Invitation) -> Response {
    let (by, workspace, email) = (escaped(&invitation.invited_by), escaped(&invitation.workspace_name), escaped(&invitation.email));
    let text =
        format!("<p>{by} invites you to work in <strong>{workspace}</strong>. You will log in as <strong>{email}</strong>.</p>");
    form(status, "Join a workspace", wrong, &text, &format!("{NAME}{PASSWORD}"), "Join")
}

/// Join a workspace
#[utoipa::path(post, path = "/accept-invitation", operation_id = "submit_accept_invitation", tag = "service", params(Link),
    request_body(content = InvitationForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "A user of the workspace is made", body = String, content_type = "text/html"),
              (status = 400, description = "The form again, with what is wrong in it", body = String, content_type = "text/html"),
              (status = 404, description = "The link is not good", body = String, content_type = "text/html")))]
async fn accept(State(state): State<AppState>, Query(link): Query<Link>, Form(body): Form) -> ApiResult<Response> {
    let (name, password, now) = (field(&body, "name"), field(&body, "password"), state.clock.now());
    let passwords = &state.sessions.passwords;
    let accepted = invitation::accept(&state.pool, &state.links, passwords, &link.token, name, password, now).await;
    state.ring(Lane::Critical);
    match accepted {
        Ok(user) => Ok(done("Welcome", &format!("<p>You can log in as <strong>{}</strong> now.</p>", escaped(&user.email)))),
        Err(error) => match (invitation::look(&state.pool, &state.links, &link.token, now).await, mended(&error)) {
            (Ok(invitation), Some(wrong)) => Ok(invitation_form(StatusCode::BAD_REQUEST, Some(&wrong), &invitation)),
            _ => unusable(error),
        },
    }
}

/// What a person fills in; other fields are not looked at.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form is read field by field, so that what is wrong is told in the page")]
struct PasswordForm {
    #[schema(min_length = 8, max_length = 128, format = Password)]
    password: String,
}

/// What a person fills in; other fields are not looked at.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form is read field by field, so that what is wrong is told in the page")]
struct InvitationForm {
    #[schema(max_length = 200)]
    name: Option<String>,
    #[schema(min_length = 8, max_length = 128, format = Password)]
    password: String,
}

/// A form that posts to the address that it came from, which holds the token.
fn form(status: StatusCode, title: &str, wrong: Option<&str>, text: &str, fields: &str, button: &str) -> Response {
    let wrong = wrong.map(|wrong| format!("<p class=\"wrong\" role=\"alert\">{}</p>", escaped(wrong))).unwrap_or_default();
    let inside = format!("{text}{wrong}<form method=\"post\">{fields}<button type=\"submit\">{button}</button></form>");
    page(status, title, &inside)
}

fn done(title: &str, text: &str) -> Response {
    page(StatusCode::OK, title, &format!("{text}<p>You can close this page.</p>"))
}

/// A field of a urlencoded form; empty where it is not there.
fn field(body: &[u8], name: &str) -> String {
    form_urlencoded::parse(body).find(|(key, _)| key == name).map(|(_, value)| value.replace('\0', "")).unwrap_or_default()
}

/// What the person can mend by writing something else into the form.
fn mended(error: &Error) -> Option<String> {
    match error {
        Error::Invalid(errors) if errors.iter().all(|error| error.field != "token") => {
            let sentences: Vec<String> = errors.iter().map(|error| format!("The {} {}.", error.field, error.message)).collect();
            Some(sentences.join(" "))
        }
        Error::Conflict(_) | Error::Busy { .. } => Some(format!("{error}.")),
        _ => None,
    }
}

/// The same for every link that is not good; what else went wrong is told as everywhere.
fn unusable(error: Error) -> ApiResult<Response> {
    match error {
        Error::Invalid(_) => {
            let text = "<p>This link was used already, is too old, or was cut in two. Open it from the newest e-mail, or ask for another.</p>";
            Ok(page(StatusCode::NOT_FOUND, "Link not valid", text))
        }
        other => Ok(ApiError::from(other).into_response()),
    }
}
