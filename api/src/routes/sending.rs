//! The switch that holds all sending back, and the confirmation of a restored copy. For admins.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    database,
    operations::{
        installation,
        sending::{self, Hold, Standing},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Admin,
    error::ApiResult,
    extract::Json,
    front::etags::{IfMatch, Tagged},
    state::AppState,
};

/// `/sending`.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(one, set)).routes(routes!(confirm_restore))
}

/// Whether mails go out, and why not.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Sending)]
struct SendingBody {
    /// Nothing holds any mail back.
    sending: bool,
    /// `campaigns`: account mail and tests go out. `everything`: nothing goes out. `restored`: this database is a copy that nobody has
    /// confirmed, and nothing goes out.
    held: Option<Hold>,
    /// What the operator said who paused it.
    #[schema(example = "the relay is being moved")]
    reason: Option<String>,
    /// Since when an operator holds it back.
    paused_at: Option<DateTime<Utc>>,
}

impl From<Standing> for SendingBody {
    fn from(standing: Standing) -> Self {
        Self { sending: standing.hold.is_none(), held: standing.hold, reason: standing.reason, paused_at: standing.paused_at }
    }
}

/// Whether mails go out
#[utoipa::path(
    get, path = "/sending", tag = "sending", operation_id = "get_sending",
    responses((status = 200, description = "What holds now", body = SendingBody)),
    security(("bearer" = ["admin"]))
)]
async fn one(State(state): State<AppState>, _: Admin) -> ApiResult<Tagged<SendingBody>> {
    Ok(tagged(sending::standing(&mut *state.pool.acquire().await?).await?))
}

fn tagged(standing: Standing) -> Tagged<SendingBody> {
    Tagged(standing.updated_at, standing.into())
}

/// Whether an operator holds mails back.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SendingSwitch)]
struct SwitchBody {
    /// True holds them back, over all workers, within 5 s.
    paused: bool,
    /// Account mail and tests too.
    #[serde(default)]
    everything: bool,
    /// For whoever looks next; 500 characters at most.
    #[schema(max_length = 500, example = "the relay is being moved")]
    reason: Option<String>,
}

/// Hold all mails back, or let them go
#[utoipa::path(
    put, path = "/sending", tag = "sending", operation_id = "set_sending", request_body = SwitchBody,
    responses((status = 200, description = "What holds now", body = SendingBody)),
    security(("bearer" = ["admin"]))
)]
async fn set(
    State(state): State<AppState>,
    _: Admin,
    IfMatch(expected): IfMatch,
    Json(body): Json<SwitchBody>,
) -> ApiResult<Tagged<SendingBody>> {
    let mut transaction = database::begin(&state.pool).await?;
    sending::lock(&mut transaction, &expected).await?;
    if body.paused {
        sending::pause(&mut transaction, body.everything, body.reason.as_deref()).await?;
    } else {
        sending::resume(&mut transaction).await?;
    }
    let standing = sending::standing(&mut transaction).await?;
    transaction.commit().await?;
    Ok(tagged(standing))
}

/// Say that this database, a restored copy, is the one that sends
#[utoipa::path(
    post, path = "/sending/confirm-restore", tag = "sending", operation_id = "confirm_restore",
    responses((status = 200, description = "What holds now; the same where there was nothing to confirm", body = SendingBody)),
    security(("bearer" = ["admin"]))
)]
async fn confirm_restore(State(state): State<AppState>, caller: Admin) -> ApiResult<Json<SendingBody>> {
    if installation::confirm(&state.pool).await? {
        tracing::warn!(user.id = %caller.standing.user_id, "a restored copy was confirmed: it sends from now on");
    }
    Ok(Json(sending::standing(&mut *state.pool.acquire().await?).await?.into()))
}
