//! What a recipient sees behind the link in a mail. No credentials: the token is signed. Looking changes nothing, since mail programs
//! and scanners look too; only a POST does (RFC 8058).

use axum::{extract::State, http::StatusCode, response::Response};
use shared::{campaigns::unsubscribe, database};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{error::ApiResult, extract::Path, page::page, state::AppState};

/// `/u/{token}`, outside of `/api/v1`: it stands in mails, so it is short and for ever.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(ask, apply))
}

/// The page behind the link in a mail
#[utoipa::path(get, path = "/u/{token}", operation_id = "show_unsubscribe", tag = "service",
    params(("token" = String, Path, description = "Signed: it names the campaign and the contact.")),
    responses((status = 200, description = "A page with a button", body = String, content_type = "text/html"),
              (status = 404, description = "The link is not good", body = String, content_type = "text/html")))]
async fn ask(State(state): State<AppState>, Path(token): Path<String>) -> Response {
    if state.links.verify(&token).is_none() {
        return unknown();
    }
    // The form posts to the address that it came from, and with the field that one-click clients send.
    page(
        StatusCode::OK,
        "Unsubscribe",
        "<p>Do you want to stop receiving these e-mails?</p>\
         <form method=\"post\"><input type=\"hidden\" name=\"List-Unsubscribe\" value=\"One-Click\">\
         <button type=\"submit\">Unsubscribe</button></form>",
    )
}

/// Unsubscribe
///
/// The one click of RFC 8058. The body is not read: the token says everything, and clients send it urlencoded or multipart.
#[utoipa::path(post, path = "/u/{token}", operation_id = "unsubscribe", tag = "service",
    params(("token" = String, Path, description = "Signed: it names the campaign and the contact.")),
    responses((status = 200, description = "Done, or done before", body = String, content_type = "text/html"),
              (status = 404, description = "The link is not good", body = String, content_type = "text/html")))]
async fn apply(State(state): State<AppState>, Path(token): Path<String>) -> ApiResult<Response> {
    let Some((campaign_id, contact_id)) = state.links.verify(&token) else { return Ok(unknown()) };
    let mut transaction = database::begin(&state.pool).await?;
    let meant = unsubscribe::apply(&mut transaction, campaign_id, contact_id).await?;
    transaction.commit().await?;
    if !meant {
        return Ok(unknown());
    }
    Ok(page(StatusCode::OK, "Unsubscribed", "<p>You will not receive these e-mails any more. You can close this page.</p>"))
}

/// The same for every link that is not good: nothing is told about why.
fn unknown() -> Response {
    let text = "<p>This link is not valid. It may have been cut in two: open it from the e-mail again.</p>";
    page(StatusCode::NOT_FOUND, "Link not found", text)
}
