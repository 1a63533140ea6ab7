use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

/// How the sink behaves now; changed by `PUT /config`.
#[derive(Debug, Serialize)]
pub struct Settings {
    /// Wait before the answer to every final dot.
    pub delay_ms: AtomicU64,
    /// The same for `slow*` and `tarpit*`.
    pub slow_ms: AtomicU64,
    /// See `slow_ms`.
    pub tarpit_ms: AtomicU64,
    /// Messages a second that a `busy*` domain takes.
    pub busy_per_second: AtomicU64,
    /// Close new connections before the banner, kept ones with a 421 at their next MAIL.
    pub refuse_connections: AtomicBool,
    /// Anything but 220 is said instead of the banner, then the connection ends.
    pub banner_code: AtomicU16,
    /// Wait before the banner.
    pub banner_ms: AtomicU64,
    /// Connections at once; more of them get a 421 instead of the banner. 0: any number.
    pub most_connections: AtomicU64,
    /// Messages of a connection; at the next MAIL it gets a 421. 0: any number.
    pub most_messages: AtomicU64,
    /// STARTTLS is offered, and what follows is no handshake.
    pub broken_tls: AtomicBool,
    /// The answer to EHLO offers nothing.
    pub offers_nothing: AtomicBool,
}

/// The part of the settings that is to change.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "as in Settings")]
pub struct Change {
    pub delay_ms: Option<u64>,
    pub slow_ms: Option<u64>,
    pub tarpit_ms: Option<u64>,
    pub busy_per_second: Option<u64>,
    pub refuse_connections: Option<bool>,
    pub banner_code: Option<u16>,
    pub banner_ms: Option<u64>,
    pub most_connections: Option<u64>,
    pub most_messages: Option<u64>,
    pub broken_tls: Option<bool>,
    pub offers_nothing: Option<bool>,
}

impl Settings {
    pub(super) fn new(delay_ms: u64) -> Self {
        Self {
            delay_ms: delay_ms.into(),
            slow_ms: 2_000.into(),
            tarpit_ms: 30_000.into(),
            busy_per_second: 20.into(),
            refuse_connections: false.into(),
            banner_code: 220.into(),
            banner_ms: 0.into(),
            most_connections: 0.into(),
            most_messages: 0.into(),
            broken_tls: false.into(),
            offers_nothing: false.into(),
        }
    }

    /// Changes what is given, at once, for kept connections too.
    pub fn change(&self, change: &Change) {
        let numbers = [
            (&self.delay_ms, change.delay_ms),
            (&self.slow_ms, change.slow_ms),
            (&self.tarpit_ms, change.tarpit_ms),
            (&self.busy_per_second, change.busy_per_second),
            (&self.banner_ms, change.banner_ms),
            (&self.most_connections, change.most_connections),
            (&self.most_messages, change.most_messages),
        ];
        for (setting, value) in numbers {
            if let Some(value) = value {
                setting.store(value, Relaxed);
            }
        }
        let switches = [
            (&self.refuse_connections, change.refuse_connections),
            (&self.broken_tls, change.broken_tls),
            (&self.offers_nothing, change.offers_nothing),
        ];
        for (setting, value) in switches {
            if let Some(value) = value {
                setting.store(value, Relaxed);
            }
        }
        if let Some(code) = change.banner_code {
            self.banner_code.store(code, Relaxed);
        }
    }
}
