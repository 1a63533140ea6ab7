//! Templates of messages.

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    database,
    messages::{
        render::Source,
        template::{self, Template},
    },
    page::{Page, PageRequest},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    caller::{Caller, Editor},
    error::ApiResult,
    extract::{Json, Path, Query},
    front::etags::{IfMatch, Tagged},
    state::AppState,
};

/// `/templates`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(page, create)).routes(routes!(one, replace, remove))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Template)]
struct TemplateBody {
    id: Uuid,
    workspace_id: Uuid,
    #[schema(example = "Receipt")]
    name: String,
    #[schema(example = "Your order {{ order.number }}")]
    subject: String,
    /// Null: messages are text alone.
    #[schema(example = "<p>Hello {{ name }}, order {{ order.number }} is on its way.</p>")]
    html: Option<String>,
    /// Null: derived from the HTML.
    #[schema(example = "Hello {{ name }}, order {{ order.number }} is on its way.")]
    text: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Template> for TemplateBody {
    fn from(template: Template) -> Self {
        let Template { id, workspace_id, name, subject, html, text, created_at, updated_at } = template;
        Self { id, workspace_id, name, subject, html, text, created_at, updated_at }
    }
}

fn tagged(template: Template) -> Tagged<TemplateBody> {
    Tagged(template.updated_at, template.into())
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewTemplate)]
struct NewBody {
    #[schema(min_length = 1, max_length = 200, pattern = r"\S", example = "Receipt")]
    name: String,
    /// Variables are keys of a message's data: `{{ order.number }}`.
    #[schema(min_length = 1, max_length = 500, example = "Your order {{ order.number }}")]
    subject: String,
    /// One of `html` and `text` must be there.
    #[schema(example = "<p>Hello {{ name }}, order {{ order.number }} is on its way.</p>")]
    html: Option<String>,
    /// Absent or null: derived from the HTML.
    #[schema(example = "Hello {{ name }}, order {{ order.number }} is on its way.")]
    text: Option<String>,
}

/// Write a template
#[utoipa::path(post, path = "/templates", operation_id = "create_template", tag = "messages", security(("bearer" = ["editor"])),
    responses((status = 201, description = "The template", body = TemplateBody),
              (status = 409, description = "a template with the name \"Receipt\" exists already")))]
async fn create(
    State(state): State<AppState>,
    caller: Editor,
    Json(body): Json<NewBody>,
) -> ApiResult<(StatusCode, Json<TemplateBody>)> {
    let NewBody { name, subject, html, text } = body;
    let source = Source { subject, html, text };
    let created = template::create(&mut *state.pool.acquire().await?, caller.scope, &name, source).await?;
    Ok((StatusCode::CREATED, Json(created.into())))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TemplatesQuery {
    page: Option<i64>,
    limit: Option<i64>,
    /// Part of the name.
    #[serde(default)]
    search: String,
}

/// The workspace's templates
#[utoipa::path(get, path = "/templates", operation_id = "list_templates", tag = "messages", security(("bearer" = ["viewer"])),
    params(TemplatesQuery), responses((status = 200, description = "A page of templates", body = Page<TemplateBody>)))]
async fn page(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<TemplatesQuery>,
) -> ApiResult<Json<Page<TemplateBody>>> {
    let request = PageRequest::new(query.page, query.limit)?;
    Ok(Json(template::page(&state.pool, caller.scope, &query.search, request).await?.map(TemplateBody::from)))
}

/// One template
#[utoipa::path(get, path = "/templates/{id}", operation_id = "get_template", tag = "messages", security(("bearer" = ["viewer"])),
    responses((status = 200, description = "The template", body = TemplateBody)))]
async fn one(State(state): State<AppState>, caller: Caller, Path(id): Path<Uuid>) -> ApiResult<Tagged<TemplateBody>> {
    Ok(tagged(template::find(&state.pool, caller.scope, id).await?))
}

/// Replace a template
///
/// Messages that were taken before say what it said then.
#[utoipa::path(put, path = "/templates/{id}", operation_id = "replace_template", tag = "messages", security(("bearer" = ["editor"])),
    responses((status = 200, description = "The template", body = TemplateBody),
              (status = 409, description = "a template with the name \"Receipt\" exists already")))]
async fn replace(
    State(state): State<AppState>,
    caller: Editor,
    Path(id): Path<Uuid>,
    IfMatch(expected): IfMatch,
    Json(body): Json<NewBody>,
) -> ApiResult<Tagged<TemplateBody>> {
    let NewBody { name, subject, html, text } = body;
    let mut transaction = database::begin(&state.pool).await?;
    let replaced = template::replace(&mut transaction, caller.scope, id, &expected, &name, Source { subject, html, text }).await?;
    transaction.commit().await?;
    Ok(tagged(replaced))
}

/// Remove a template
#[utoipa::path(delete, path = "/templates/{id}", operation_id = "delete_template", tag = "messages", security(("bearer" = ["editor"])),
    responses((status = 204, description = "It is gone")))]
async fn remove(
    State(state): State<AppState>,
    caller: Editor,
    Path(id): Path<Uuid>,
    IfMatch(expected): IfMatch,
) -> ApiResult<StatusCode> {
    let mut transaction = database::begin(&state.pool).await?;
    template::delete(&mut transaction, caller.scope, id, &expected).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
