//! What a recipient sees behind the link in a mail. No credentials: the token is signed. Looking changes nothing, since mail programs
//! and scanners look too; only a POST does (RFC 8058).

use axum::{
    Router,
    extract::State,
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use shared::campaigns::unsubscribe;

use crate::{error::ApiResult, extract::Path, state::AppState};

/// `/u/{token}`, outside of `/api/v1`: it stands in mails, so it is short and for ever.
pub fn router() -> Router<AppState> {
    Router::new().route("/u/{token}", get(ask).post(apply))
}

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

/// The body is not read: the token says everything, and clients send it urlencoded or multipart.
async fn apply(State(state): State<AppState>, Path(token): Path<String>) -> ApiResult<Response> {
    let Some((campaign_id, contact_id)) = state.links.verify(&token) else { return Ok(unknown()) };
    let mut transaction = state.pool.begin().await?;
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

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("x-robots-tag"), "noindex, nofollow"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
];

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2430;--paper:#f4f2ee;--card:#fff;--mark:#1f5f99}\
@media(prefers-color-scheme:dark){:root{--ink:#e8e6e1;--paper:#14181d;--card:#1e242b;--mark:#8cc3f0}}\
body{margin:0;min-height:100vh;display:grid;place-items:center;background:var(--paper);color:var(--ink);\
font:1.125rem/1.5 system-ui,sans-serif}\
main{background:var(--card);padding:2rem;margin:1rem;max-width:28rem;border-radius:.75rem}\
h1{font-size:1.5rem;margin:0 0 .5rem}p{margin:0 0 1rem}p:last-child{margin:0}\
button{font:inherit;padding:.6rem 1.2rem;border:2px solid var(--mark);border-radius:.5rem;background:var(--mark);\
color:var(--card);cursor:pointer}button:focus-visible{outline:3px solid var(--mark);outline-offset:3px}";

fn page(status: StatusCode, title: &str, inside: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"robots\" content=\"noindex\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>{inside}</main></body></html>\n"
    );
    (status, HEADERS, html).into_response()
}
