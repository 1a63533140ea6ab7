//! Questions that people ask: a route together with its health.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{
    health::{self, Health},
    route::{self, Route},
};
use crate::{
    error::Result,
    page::{Page, PageRequest},
};

/// A route, and whether it works.
#[derive(Clone, Debug)]
pub struct Standing {
    /// As it was made.
    pub route: Route,
    /// As the workers find it.
    pub health: Health,
}

/// The health of a route that was just read.
///
/// # Errors
/// The database failed.
pub async fn of(connection: &mut PgConnection, route: Route) -> Result<Standing> {
    let health = health::of(connection, &[route.id]).await?.remove(&route.id).unwrap_or_default();
    Ok(Standing { route, health })
}

/// The route `id`.
///
/// # Errors
/// [`crate::error::Error::NotFound`].
pub async fn find(connection: &mut PgConnection, id: Uuid) -> Result<Standing> {
    let route = route::find(connection, id).await?;
    of(connection, route).await
}

/// The routes, newest first.
///
/// # Errors
/// The database failed.
pub async fn page(pool: &PgPool, request: PageRequest) -> Result<Page<Standing>> {
    let routes = route::page(pool, request).await?;
    let ids: Vec<Uuid> = routes.data.iter().map(|route| route.id).collect();
    let mut healths = health::of(&mut *pool.acquire().await?, &ids).await?;
    Ok(routes.map(|route| {
        let health = healths.remove(&route.id).unwrap_or_default();
        Standing { route, health }
    }))
}
