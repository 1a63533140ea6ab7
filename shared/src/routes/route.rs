//! The noun: a route, which is an SMTP server that takes our mail. Routes belong to the house, not to a workspace. Passwords are
//! sealed in the table and leave this file only towards the worker.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use super::{health, relay_url::RelayUrl};
use crate::{
    error::{Error, FieldError, Result},
    page::{Page, PageRequest},
    settings::Secret,
    vault::Vault,
    version::Expected,
};

/// How a connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// Never.
    None,
    /// STARTTLS where it is offered.
    #[default]
    Opportunistic,
    /// STARTTLS with a valid certificate, or no mail.
    Required,
    /// From the first octet, with a valid certificate.
    Implicit,
}

impl Tls {
    /// As in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Opportunistic => "opportunistic",
            Self::Required => "required",
            Self::Implicit => "implicit",
        }
    }
}

impl fmt::Display for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Tls {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = [Self::None, Self::Opportunistic, Self::Required, Self::Implicit];
        all.into_iter().find(|tls| tls.name() == name).ok_or_else(|| format!("there is no tls mode {name:?}"))
    }
}

impl TryFrom<String> for Tls {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

/// A row of `routes` without its password.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0005_campaigns.sql")]
pub struct Route {
    pub id: Uuid,
    pub name: String,
    pub kind: String,
    pub url: String,
    pub username: Option<String>,
    /// Whether there is one.
    pub has_password: bool,
    #[sqlx(try_from = "String")]
    pub tls: Tls,
    pub max_connections: i32,
    pub rate_per_second: Option<f64>,
    pub weight: i32,
    pub disabled_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A route as an operator writes it.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns are described in migrations/0005_campaigns.sql")]
pub struct NewRoute {
    pub name: String,
    /// May hold credentials, which count where the fields hold none.
    pub url: String,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub tls: Tls,
    pub max_connections: i32,
    pub rate_per_second: Option<f64>,
    pub weight: i32,
}

/// What is to change; what is absent stays.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the columns are described in migrations/0005_campaigns.sql")]
pub struct Change {
    pub name: Option<String>,
    pub url: Option<String>,
    /// `Some(None)` takes the credentials away.
    pub username: Option<Option<String>>,
    pub password: Option<Option<Secret>>,
    pub tls: Option<Tls>,
    pub max_connections: Option<i32>,
    pub rate_per_second: Option<Option<f64>>,
    pub weight: Option<i32>,
    pub disabled: Option<bool>,
}

/// Makes a route.
///
/// # Errors
/// [`Error::Invalid`] names every wrong field. [`Error::Conflict`]: the name is taken.
pub async fn create(connection: &mut PgConnection, vault: &Vault, new: NewRoute) -> Result<Route> {
    let id = Uuid::now_v7();
    let checked = check(&new, false)?;
    let sealed = seal(vault, id, checked.password.as_deref())?;
    sqlx::query_as(
        "INSERT INTO routes (id, name, kind, url, username, password_sealed, tls, max_connections, rate_per_second, weight)
         VALUES ($1, $2, 'relay', $3, $4, $5, $6, $7, $8, $9)
         RETURNING id, name, kind, url, username, password_sealed IS NOT NULL AS has_password, tls, max_connections,
                   rate_per_second, weight, disabled_at, created_at, updated_at",
    )
    .bind(id)
    .bind(new.name.trim())
    .bind(checked.url)
    .bind(checked.username)
    .bind(sealed)
    .bind(new.tls.name())
    .bind(new.max_connections)
    .bind(new.rate_per_second)
    .bind(new.weight)
    .fetch_one(connection)
    .await
    .map_err(|error| taken(error, &new.name))
}

/// The routes, newest first.
///
/// # Errors
/// The database failed.
pub async fn page(pool: &PgPool, request: PageRequest) -> Result<Page<Route>> {
    let total = sqlx::query_scalar("SELECT count(*) FROM routes").fetch_one(pool).await?;
    let rows = sqlx::query_as(
        "SELECT id, name, kind, url, username, password_sealed IS NOT NULL AS has_password, tls, max_connections, rate_per_second,
                weight, disabled_at, created_at, updated_at
         FROM routes ORDER BY id DESC LIMIT $1 OFFSET $2",
    )
    .bind(request.limit)
    .bind(request.offset())
    .fetch_all(pool)
    .await?;
    Ok(Page::new(request, total, rows))
}

/// The route `id`.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn find(connection: &mut PgConnection, id: Uuid) -> Result<Route> {
    sqlx::query_as(
        "SELECT id, name, kind, url, username, password_sealed IS NOT NULL AS has_password, tls, max_connections, rate_per_second,
                weight, disabled_at, created_at, updated_at
         FROM routes WHERE id = $1 FOR NO KEY UPDATE",
    )
    .bind(id)
    .fetch_optional(connection)
    .await?
    .ok_or_else(|| Error::not_found("route", id))
}

/// Holds the route until the transaction ends, if it is still what a change expects; asks nothing where any will do.
///
/// # Errors
/// [`Error::Outdated`], [`Error::NotFound`].
pub async fn expect(connection: &mut PgConnection, id: Uuid, expected: &Expected) -> Result<()> {
    if *expected == Expected::Any {
        return Ok(());
    }
    expected.check("route", id, find(connection, id).await?.updated_at)
}

/// Changes a route, inside the caller's transaction.
///
/// # Errors
/// [`Error::Invalid`] names every wrong field. [`Error::Conflict`]: the name is taken. [`Error::NotFound`].
pub async fn change(connection: &mut PgConnection, vault: &Vault, id: Uuid, change: Change) -> Result<Route> {
    let route = find(connection, id).await?;
    let old_host = host(&route.url);
    let new = NewRoute {
        name: change.name.unwrap_or(route.name),
        url: change.url.unwrap_or(route.url),
        username: change.username.unwrap_or(route.username),
        password: change.password.clone().flatten(),
        tls: change.tls.unwrap_or(route.tls),
        max_connections: change.max_connections.unwrap_or(route.max_connections),
        rate_per_second: change.rate_per_second.unwrap_or(route.rate_per_second),
        weight: change.weight.unwrap_or(route.weight),
    };
    let keeps = route.has_password && change.password.is_none() && new.username.is_some();
    let checked = check(&new, keeps)?;
    // A password that was given for one server must not be sent to another by a change of the address alone.
    if keeps && checked.password.is_none() && host(&checked.url) != old_host {
        return Err(Error::invalid("password", "must be given again, or null, when the url names another host"));
    }
    let sealed = seal(vault, id, checked.password.as_deref())?;
    health::try_at_once(connection, id).await?;
    sqlx::query_as(
        "UPDATE routes SET name = $2, url = $3, username = $4,
             password_sealed = CASE WHEN $5 IS NOT NULL THEN $5 WHEN $6 THEN password_sealed END,
             tls = $7, max_connections = $8, rate_per_second = $9, weight = $10,
             disabled_at = CASE $11 WHEN true THEN coalesce(disabled_at, now()) WHEN false THEN NULL ELSE disabled_at END,
             updated_at = now()
         WHERE id = $1
         RETURNING id, name, kind, url, username, password_sealed IS NOT NULL AS has_password, tls, max_connections,
                   rate_per_second, weight, disabled_at, created_at, updated_at",
    )
    .bind(id)
    .bind(new.name.trim())
    .bind(checked.url)
    .bind(checked.username)
    .bind(sealed)
    .bind(keeps)
    .bind(new.tls.name())
    .bind(new.max_connections)
    .bind(new.rate_per_second)
    .bind(new.weight)
    .bind(change.disabled)
    .fetch_one(connection)
    .await
    .map_err(|error| taken(error, &new.name))
}

/// Takes a route out of use; campaigns and deliveries go on naming it.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn disable(connection: &mut PgConnection, id: Uuid) -> Result<()> {
    let disabled = sqlx::query("UPDATE routes SET disabled_at = coalesce(disabled_at, now()), updated_at = now() WHERE id = $1")
        .bind(id)
        .execute(connection)
        .await?
        .rows_affected();
    if disabled == 1 { Ok(()) } else { Err(Error::not_found("route", id)) }
}

struct Checked {
    url: String,
    username: Option<String>,
    password: Option<String>,
}

/// `keeps_password`: there is one already, and it stays.
fn check(new: &NewRoute, keeps_password: bool) -> Result<Checked> {
    let mut errors = Vec::new();
    let length = new.name.trim().chars().count();
    if !(1..=200).contains(&length) || new.name.chars().any(char::is_control) {
        errors.push(FieldError::new("name", format!("must be 1 to 200 characters of one line, not {length}")));
    }
    if !(1..=10_000).contains(&new.max_connections) {
        errors.push(FieldError::new("max_connections", format!("must be between 1 and 10000, not {}", new.max_connections)));
    }
    if !(0..=1000).contains(&new.weight) {
        errors.push(FieldError::new("weight", format!("must be between 0 and 1000, not {}", new.weight)));
    }
    if let Some(rate) = new.rate_per_second
        && !(rate.is_finite() && rate > 0.0)
    {
        errors.push(FieldError::new("rate_per_second", format!("must be more than 0, not {rate}")));
    }
    let url = match RelayUrl::parse(&new.url) {
        Ok(url) => url,
        Err(reason) => {
            errors.push(FieldError::new("url", reason));
            return Err(Error::Invalid(errors));
        }
    };
    let given = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(str::to_owned);
    let username = given(new.username.as_deref()).or(url.username.clone());
    let password = given(new.password.as_ref().map(Secret::expose)).or(url.password.clone());
    for (field, value) in [("username", &username), ("password", &password)] {
        if value.as_ref().is_some_and(|value| value.chars().any(char::is_control) || value.len() > 1000) {
            errors.push(FieldError::new(field, "must be at most 1000 bytes without control characters"));
        }
    }
    if username.is_some() != (password.is_some() || keeps_password) {
        errors.push(FieldError::new("password", "username and password go together"));
    }
    if (password.is_some() || keeps_password) && new.tls == Tls::None && !url.loopback {
        errors.push(FieldError::new("tls", "none would send the password in the clear: take required or implicit"));
    }
    if errors.is_empty() { Ok(Checked { url: url.without_credentials(), username, password }) } else { Err(Error::Invalid(errors)) }
}

fn host(url: &str) -> Option<String> {
    RelayUrl::parse(url).ok().map(|url| url.host)
}

fn seal(vault: &Vault, id: Uuid, password: Option<&str>) -> Result<Option<Vec<u8>>> {
    password.map(|password| vault.seal(password.as_bytes(), id.as_bytes()).map_err(Error::Internal)).transpose()
}

fn taken(error: sqlx::Error, name: &str) -> Error {
    match Error::constraint(&error) {
        Some("routes_name_key") => Error::Conflict(format!("a route with the name {:?} exists already", name.trim())),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{routes::usable, testing::Stage};

    fn relay(url: &str, tls: Tls) -> NewRoute {
        NewRoute {
            name: "relay".to_owned(),
            url: url.to_owned(),
            username: None,
            password: None,
            tls,
            max_connections: 10,
            rate_per_second: None,
            weight: 1,
        }
    }

    #[tokio::test]
    async fn a_password_is_sealed_in_the_table_and_opens_for_the_worker() {
        let stage = Stage::new().await;
        let vault = Vault::from_settings(&stage.settings.secrets).expect("a vault");
        let mut connection = stage.pool.acquire().await.expect("a connection");
        let made =
            create(&mut connection, &vault, relay("smtp://ann:hunter2@mail.test:587", Tls::Required)).await.expect("a route");
        assert_eq!((made.url.as_str(), made.username.as_deref(), made.has_password), ("smtp://mail.test:587", Some("ann"), true));
        let row: String = sqlx::query_scalar("SELECT row_to_json(r)::text || encode(r.password_sealed, 'escape') FROM routes r")
            .fetch_one(&stage.pool)
            .await
            .expect("the row");
        assert!(!row.contains("hunter2"), "{row}");
        let usable = usable::all(&stage.pool, &vault).await.expect("routes");
        assert_eq!(usable[0].password.as_ref().map(Secret::expose), Some("hunter2"));
        assert!(!format!("{usable:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn a_password_does_not_follow_a_route_to_another_host() {
        let stage = Stage::new().await;
        let vault = Vault::from_settings(&stage.settings.secrets).expect("a vault");
        let mut connection = stage.pool.acquire().await.expect("a connection");
        let made =
            create(&mut connection, &vault, relay("smtp://ann:hunter2@mail.test:587", Tls::Required)).await.expect("a route");
        let elsewhere = Change { url: Some("smtp://evil.test:587".to_owned()), ..Change::default() };
        let error = change(&mut connection, &vault, made.id, elsewhere).await.expect_err("another host");
        assert_eq!(error.to_string(), "password: must be given again, or null, when the url names another host");
        let weight = Change { weight: Some(7), disabled: Some(true), ..Change::default() };
        let changed = change(&mut connection, &vault, made.id, weight).await.expect("changed");
        assert!(changed.has_password && changed.weight == 7 && changed.disabled_at.is_some());
        assert!(usable::all(&stage.pool, &vault).await.expect("routes").is_empty());
        let bare = Change { username: Some(None), password: Some(None), ..Change::default() };
        assert!(!change(&mut connection, &vault, made.id, bare).await.expect("changed").has_password);
    }

    #[test]
    fn every_wrong_field_of_a_route_is_named() {
        let wrong = NewRoute {
            name: String::new(),
            weight: -1,
            max_connections: 0,
            rate_per_second: Some(0.0),
            ..relay("smtp://a:b@mail.test", Tls::None)
        };
        let error = check(&wrong, false).err().expect("wrong").to_string();
        insta::assert_snapshot!(error.replace("; ", "\n"), @r"
        name: must be 1 to 200 characters of one line, not 0
        max_connections: must be between 1 and 10000, not 0
        weight: must be between 0 and 1000, not -1
        rate_per_second: must be more than 0, not 0
        tls: none would send the password in the clear: take required or implicit
        ");
        assert!(check(&relay("smtp://a:b@127.0.0.1:2525", Tls::None), false).is_ok(), "nobody listens on the loopback");
    }
}
