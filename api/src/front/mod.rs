//! What stands between the network and the handlers. In the order in which a request meets it: [`proxies`] (who asks, over TLS or not),
//! [`headers`] (what every answer says to browsers), [`crate::request`] (id, span, log), [`cors`], [`limits`] (requests a minute),
//! [`deadline`] (time and the body) and [`idempotency`] (once); [`etags`] spares what is known and lets a change
//! expect a version. Before all of them [`listener`] takes connections, over [`tls`] where that is
//! set, and closes those that [`idle`]; [`pieces`] reads forms.

use std::time::Duration;

use axum::http::HeaderValue;
use shared::{clock::Clock, settings::Settings};

use self::{limits::Limits, proxies::Proxies};

pub mod classes;
pub mod cors;
pub mod deadline;
pub mod etags;
pub mod headers;
pub mod idempotency;
pub mod idle;
pub mod limits;
pub mod listener;
pub mod pieces;
pub mod proxies;
pub mod tls;

/// One per process.
pub struct Front {
    /// Whose word about the client counts.
    pub proxies: Proxies,
    /// Requests a minute.
    pub limits: Limits,
    /// Pages of these origins may call.
    pub origins: Vec<HeaderValue>,
    /// How long a request may take.
    pub deadline: Duration,
    /// How long the next bytes of a body may take.
    pub body_idle: Duration,
}

impl Front {
    /// # Errors
    /// A sentence that names the setting and the value.
    pub fn new(settings: &Settings, clock: &Clock) -> Result<Self, String> {
        Ok(Self {
            proxies: Proxies::parse(&settings.api.trusted_proxies)?,
            limits: Limits::new(settings, clock)?,
            origins: cors::origins(&settings.api.cors_origins)?,
            deadline: Duration::from_secs(settings.api.deadline_seconds),
            body_idle: Duration::from_secs(settings.api.upload_idle_seconds),
        })
    }
}

/// The items of a setting that lists several, with commas.
fn listed(setting: &str) -> impl Iterator<Item = &str> {
    setting.split(',').map(str::trim).filter(|item| !item.is_empty())
}
