//! Every route of the front, in one list.

use axum::{
    Router,
    extract::{DefaultBodyLimit, OriginalUri, Request, State},
    http::Method,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use utoipa_axum::router::OpenApiRouter;

use crate::{
    error::ApiError,
    front::{cors, etags, headers, idempotency, limits},
    openapi::page,
    request,
    state::AppState,
};

pub mod accounts;
pub mod campaigns;
pub mod contacts;
pub mod deliveries;
pub mod destinations;
pub mod events;
pub mod feedback_sources;
pub mod health;
pub mod imports;
pub mod inbound;
pub mod jobs;
pub mod lists;
pub mod mail_links;
pub mod members;
pub mod messages;
#[expect(clippy::module_inception, reason = "a domain has one word in every room, and this one is routes of mail")]
pub mod routes;
pub mod sending;
pub mod sending_domains;
pub mod suppression_files;
pub mod suppressions;
pub mod templates;
pub mod unsubscribe;
pub mod users;
pub mod workspaces;

/// The whole front.
pub fn router(state: AppState) -> Router {
    let known_schema = middleware::from_fn_with_state(state.clone(), behind_the_gate);
    let once = middleware::from_fn_with_state(state.clone(), idempotency::wrap);
    let outside = |router: OpenApiRouter<AppState>| router.layer(known_schema.clone());
    let inside = |router: OpenApiRouter<AppState>| outside(router.layer(once.clone()).layer(middleware::from_fn(etags::wrap)));
    let large = DefaultBodyLimit::max(state.settings.api.max_message_bytes);
    let (documented, _) = documented(outside, inside, |router| router.layer(large)).split_for_parts();
    documented
        .merge(page::pages())
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(state.settings.api.max_body_bytes))
        .layer(middleware::from_fn_with_state(state.clone(), limits::wrap))
        .layer(cors::layer(&state.front.origins))
        .layer(middleware::from_fn(request::wrap))
        .layer(middleware::from_fn_with_state(state.clone(), headers::wrap))
        .with_state(state)
}

/// What the handlers say of themselves: the raw material of [`crate::openapi::document`].
#[must_use]
pub fn described() -> utoipa::openapi::OpenApi {
    documented(|router| router, |router| router, |router| router).into_openapi()
}

/// Every operation. `outside` wraps what needs PostgreSQL and stands in mails, `inside` what needs it under `/api/v1`, `large` whose bodies may
/// be larger than others.
fn documented(
    outside: impl FnOnce(OpenApiRouter<AppState>) -> OpenApiRouter<AppState>,
    inside: impl Fn(OpenApiRouter<AppState>) -> OpenApiRouter<AppState>,
    large: impl FnOnce(OpenApiRouter<AppState>) -> OpenApiRouter<AppState>,
) -> OpenApiRouter<AppState> {
    let versioned = inside(versioned()).merge(large(inside(messages::router())));
    OpenApiRouter::new()
        .merge(health::router())
        .merge(outside(unsubscribe::router().merge(mail_links::router())))
        .nest("/api/v1", health::router().merge(page::router()).merge(versioned))
}

/// Everything under `/api/v1` that needs PostgreSQL, but messages: one line a domain.
fn versioned() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(accounts::router())
        .merge(members::router())
        .merge(users::router())
        .merge(workspaces::router())
        .merge(lists::router())
        .merge(contacts::router())
        .merge(suppressions::router())
        .merge(suppression_files::router())
        .merge(feedback_sources::router())
        .merge(inbound::router())
        .merge(campaigns::router())
        .merge(deliveries::router())
        .merge(templates::router())
        .merge(routes::router())
        .merge(sending_domains::router())
        .merge(destinations::router())
        .merge(imports::router())
        .merge(jobs::router())
        .merge(sending::router())
        .merge(events::router())
}

async fn behind_the_gate(State(state): State<AppState>, request: Request, next: Next) -> Response {
    match state.database.closed() {
        None => next.run(request).await,
        Some(reason) => ApiError::Business(shared::error::Error::Internal(reason)).into_response(),
    }
}

async fn no_route(uri: OriginalUri) -> ApiError {
    ApiError::NoRoute(format!("there is nothing at {}", uri.path()))
}

async fn no_method(method: Method, uri: OriginalUri) -> ApiError {
    ApiError::NoMethod(format!("{} does not take {method}", uri.path()))
}
