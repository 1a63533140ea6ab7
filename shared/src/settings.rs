//! Settings: the documented defaults of `deploy/config.default.toml`, a file, the environment, in this order.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use figment::{
    Figment,
    providers::{Env, Format, Toml},
};
use serde::Deserialize;

use crate::{
    address::Address,
    error::Error,
    queue::lane::Lane,
    routes::{relay_url::RelayUrl, route::Tls},
};

/// The embedded defaults: the file that documents them is the default.
pub const DEFAULTS: &str = include_str!("../../deploy/config.default.toml");

/// Every setting; see `deploy/config.default.toml` for meanings and units.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "documented where an operator reads them: deploy/config.default.toml")]
pub struct Settings {
    pub database: Database,
    pub redis: Redis,
    pub log: Log,
    pub api: Api,
    pub limits: Limits,
    pub auth: Auth,
    pub secrets: Secrets,
    pub mail: Mail,
    pub store: Store,
    pub worker: Worker,
    pub queue: Queue,
    pub sending: Sending,
    pub dns: Dns,
    pub inbound: Inbound,
    pub retention: Retention,
    pub telemetry: Telemetry,
}

/// A value that must not be printed: `Debug` hides it.
#[derive(Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(not set)" } else { "(secret)" })
    }
}

/// What follows `MOCHILA_` in variables that begin like a setting but are for the command line, for compose, or for scripts that read them.
pub const NOT_SETTINGS: [&str; 5] = ["CONFIG", "URL", "ADMIN_EMAIL", "ADMIN_PASSWORD", "VERSION"];

macro_rules! section {
    ($name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(missing_docs, reason = "documented where an operator reads them: deploy/config.default.toml")]
        pub struct $name { $(pub $field: $type),* }
    };
}

section!(Database { url: Secret, max_connections: u32 });
section!(Redis { url: Secret, prefix: String, timeout_ms: u64 });
section!(Log { format: LogFormat, filter: String });
section!(Api {
    listen: String,
    metrics_listen: String,
    public_url: url::Url,
    max_body_bytes: usize,
    max_message_bytes: usize,
    max_upload_bytes: u64,
    trusted_proxies: String,
    cors_origins: String,
    deadline_seconds: u64,
    upload_idle_seconds: u64,
    header_seconds: u64,
    idle_seconds: u64,
    max_connections: usize,
    tls: ApiTls,
});
section!(ApiTls { certificate: String, key: String });
section!(Limits {
    general_per_minute: u32,
    login_per_minute: u32,
    refresh_per_minute: u32,
    send_per_minute: u32,
    message_per_minute: u32,
    poll_per_minute: u32,
    link_per_minute: u32,
    inbound_per_minute: u32,
    docs_per_minute: u32,
    redis_timeout_ms: u64,
    streams_per_user: usize,
});
section!(Auth { access_token_seconds: i64, refresh_token_seconds: i64, open_registration: bool });
section!(Mail { relay_url: Secret, tls: String, from: String, from_name: String });
section!(Secrets {
    jwt_key: Secret,
    jwt_keys: Secret,
    encryption_key: Secret,
    encryption_keys: Secret,
    link_key: Secret,
    link_keys: Secret,
});
section!(Store { url: String, s3_endpoint: String, s3_region: String, s3_access_key: Secret, s3_secret_key: Secret });
section!(Worker { metrics_listen: String, lanes: String, measure_stages: bool, drain_seconds: u64, slots: HashMap<String, usize> });
section!(Queue {
    lease_seconds: u64,
    heartbeat_seconds: u64,
    stale_seconds: u64,
    bell_ms: u64,
    reconcile_ms: u64,
    poll_ms: u64,
    critical_poll_ms: u64,
    retry_base_ms: u64,
    max_tickets: usize,
});
section!(Sending {
    chunk_recipients: i64,
    launch_slice: i64,
    single_destination_from: i64,
    connections: usize,
    look_ahead: usize,
    turn_seconds: u64,
    destination_chunks: i32,
    messages_per_connection: u32,
    idle_seconds: u64,
    hello_name: String,
    feedback_sender_id: String,
    bounce_host: String,
    spf_ips: String,
    spf_include: String,
    shaping: String,
    look_up_providers: bool,
    timeouts: Timeouts,
    retry: Retry,
    transactional: Transactional,
    slowdown: Slowdown,
    breaker: Breaker,
});
section!(Inbound {
    listen: String,
    lmtp: bool,
    name: String,
    report_addresses: String,
    certificate: String,
    key: String,
    max_message_bytes: usize,
    max_connections: usize,
    connections_per_address: usize,
    mails_per_minute: usize,
    idle_seconds: u64,
    data_seconds: u64,
});
section!(Transactional { connections: usize, reserved: u32, destination_messages: i32, longest_step_seconds: u64, retry: Retry });
section!(Breaker { failures: usize, window_seconds: f64, pause_seconds: f64, longest_pause_seconds: f64, probe_seconds: f64 });
section!(Dns { servers: String, timeout_ms: u64, attempts: usize });
section!(Retention {
    jobs_days: u32,
    attempts_days: u32,
    deliveries_days: u32,
    messages_days: u32,
    uploads_days: u32,
    notices_days: u32
});
section!(Telemetry { otlp_endpoint: String, sample_ratio: f64, sentry_dsn: Secret });
section!(Timeouts { connect: u64, greeting: u64, command: u64, data: u64, final_dot: u64 });
section!(Retry { first_seconds: f64, factor: f64, jitter: f64, longest_seconds: f64, expire_seconds: f64 });
section!(Slowdown {
    window_seconds: u64,
    share: f64,
    floor_per_second: f64,
    raise: f64,
    release_per_second: f64,
    cooldown_seconds: f64,
    suspend_after: u32,
    suspend_seconds: f64,
});

impl Sending {
    /// The addresses of `spf_ips`.
    ///
    /// # Errors
    /// A sentence that names the setting and the value.
    pub fn spf_addresses(&self) -> Result<Vec<IpAddr>, String> {
        let named = self.spf_ips.split(',').map(str::trim).filter(|ip| !ip.is_empty());
        named.map(|ip| ip.parse().map_err(|_| format!("settings: sending.spf_ips: {ip:?} is no address"))).collect()
    }
}

impl Dns {
    /// The servers of the list, port 53 where it names none; empty where the system's are meant.
    ///
    /// # Errors
    /// A sentence that names the setting and the value.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        let named = self.servers.split(',').map(str::trim).filter(|server| !server.is_empty());
        named
            .map(|server| {
                let plain =
                    server.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
                plain.or_else(|_| server.parse()).map_err(|_| format!("settings: dns.servers: {server:?} is no address"))
            })
            .collect()
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=60_000).contains(&self.timeout_ms) || !(1..=10).contains(&self.attempts) {
            return Err("settings: dns.timeout_ms must be between 1 and 60000, dns.attempts between 1 and 10".to_owned());
        }
        self.addresses().map(drop)
    }
}

impl Sending {
    /// Jobs of a lane for one destination that run at once, over all workers.
    #[must_use]
    pub fn destination_cap(&self, lane: Lane) -> i32 {
        if lane == Lane::Critical { self.transactional.destination_messages } else { self.destination_chunks }
    }
}

impl Inbound {
    /// The addresses that are registered for reports, in lower case.
    #[must_use]
    pub fn reports(&self) -> Vec<String> {
        let addresses = self.report_addresses.split(',').map(|address| address.trim().to_lowercase());
        addresses.filter(|address| !address.is_empty()).collect()
    }
}

impl Mail {
    /// Whether there is a relay for mails about accounts.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.relay_url.expose().is_empty()
    }

    /// # Errors
    /// [`Error::Conflict`]: there is none, which the sentence says how to mend.
    pub fn require(&self) -> Result<(), Error> {
        if self.is_on() {
            return Ok(());
        }
        Err(Error::Conflict("mails about accounts are off: whoever runs this sets mail.relay_url and mail.from".to_owned()))
    }

    fn check(&self) -> Result<(), String> {
        if !self.is_on() {
            return Ok(());
        }
        RelayUrl::parse(self.relay_url.expose()).map_err(|reason| format!("settings: mail.relay_url {reason}"))?;
        self.tls.parse::<Tls>().map_err(|reason| format!("settings: mail.tls: {reason}"))?;
        Address::parse(&self.from).map_err(|reason| format!("settings: mail.from {:?} {reason}", self.from))?;
        Ok(())
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a terminal.
    Text,
}

impl Settings {
    /// Reads defaults, then the file named in `MOCHILA_CONFIG` if there is one, then `MOCHILA_…` variables.
    ///
    /// # Errors
    /// A sentence that names the setting and the value.
    pub fn load() -> Result<Self, String> {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        let file = std::env::var("MOCHILA_CONFIG").ok();
        Self::from_sources(file.as_deref().map(Path::new))
    }

    fn from_sources(file: Option<&Path>) -> Result<Self, String> {
        let mut figment = Figment::from(Toml::string(DEFAULTS));
        if let Some(file) = file {
            if !file.is_file() {
                return Err(format!("MOCHILA_CONFIG names {}, which is not a file", file.display()));
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        let figment = figment.merge(Env::prefixed("MOCHILA_").ignore(&NOT_SETTINGS).split("__"));
        let settings: Self = figment.extract().map_err(|error| format!("settings: {error}"))?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), String> {
        let secrets = &self.secrets;
        let single = |ring: &Secret| ring.expose().is_empty();
        let required = [
            ("database.url", &self.database.url),
            ("redis.url", &self.redis.url),
            ("secrets.jwt_key", if single(&secrets.jwt_keys) { &secrets.jwt_key } else { &secrets.jwt_keys }),
            (
                "secrets.encryption_key",
                if single(&secrets.encryption_keys) { &secrets.encryption_key } else { &secrets.encryption_keys },
            ),
            ("secrets.link_key", if single(&secrets.link_keys) { &secrets.link_key } else { &secrets.link_keys }),
        ];
        for (name, value) in required {
            if value.expose().is_empty() {
                let variable = name.replace('.', "__").to_uppercase();
                return Err(format!("settings: {name} is required (MOCHILA_{variable})"));
            }
        }
        self.mail.check()?;
        self.dns.check()?;
        self.sending.spf_addresses()?;
        if self.queue.stale_seconds >= self.queue.lease_seconds || self.queue.heartbeat_seconds >= self.queue.stale_seconds {
            return Err("settings: queue.heartbeat_seconds < queue.stale_seconds < queue.lease_seconds must hold".to_owned());
        }
        if self.api.deadline_seconds >= self.api.idle_seconds {
            return Err("settings: api.deadline_seconds < api.idle_seconds must hold".to_owned());
        }
        if self.api.tls.certificate.is_empty() != self.api.tls.key.is_empty() {
            return Err("settings: api.tls.certificate and api.tls.key go together".to_owned());
        }
        let inbound = &self.inbound;
        if inbound.certificate.is_empty() != inbound.key.is_empty() {
            return Err("settings: inbound.certificate and inbound.key go together".to_owned());
        }
        let bounds =
            [inbound.max_message_bytes, inbound.max_connections, inbound.connections_per_address, inbound.mails_per_minute];
        if bounds.contains(&0) || inbound.idle_seconds == 0 || inbound.data_seconds == 0 {
            return Err("settings: the limits of inbound must be at least 1".to_owned());
        }
        if !(0.0..=1.0).contains(&self.telemetry.sample_ratio) {
            return Err(format!("settings: telemetry.sample_ratio must be between 0 and 1, not {}", self.telemetry.sample_ratio));
        }
        if self.sending.look_ahead == 0 || self.sending.connections == 0 {
            return Err("settings: sending.look_ahead and connections must be at least 1".to_owned());
        }
        let id = &self.sending.feedback_sender_id;
        // Google's rule for the last part of a Feedback-ID.
        if !(5..=15).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return Err(format!("settings: sending.feedback_sender_id must be 5 to 15 of a-z, 0-9 and -, not {id:?}"));
        }
        let transactional = &self.sending.transactional;
        if transactional.connections == 0 || transactional.destination_messages < 1 || transactional.longest_step_seconds == 0 {
            return Err(
                "settings: sending.transactional: connections, destination_messages and longest_step_seconds must be at least 1"
                    .to_owned(),
            );
        }
        let breaker = &self.sending.breaker;
        let pauses = [breaker.window_seconds, breaker.pause_seconds, breaker.longest_pause_seconds, breaker.probe_seconds];
        if breaker.failures == 0 || pauses.iter().any(|seconds| !(*seconds > 0.0 && *seconds <= 86_400.0)) {
            return Err("settings: sending.breaker.failures must be at least 1, its seconds between 0 and 86400".to_owned());
        }
        Ok(())
    }

    /// The defaults with sample values for what is required; for tests.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn sample() -> Self {
        let key = "c2FtcGxlIGtleSBmb3IgdGVzdHMsIDMyIGJ5dGVzISE=".to_owned();
        let mut settings: Self = Figment::from(Toml::string(DEFAULTS)).extract().expect("the defaults are well-formed");
        let secrets = &mut settings.secrets;
        (secrets.jwt_key, secrets.encryption_key, secrets.link_key) = (key.clone().into(), key.clone().into(), key.into());
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_lack_only_what_a_deployment_must_give() {
        let error = Settings::from_sources(None).expect_err("nothing is given");
        assert_eq!(error, "settings: database.url is required (MOCHILA_DATABASE__URL)");
    }

    #[test]
    fn mails_about_accounts_are_off_or_whole() {
        let mut mail = Settings::sample().mail;
        assert!(mail.check().is_ok() && !mail.is_on());
        mail.relay_url = "smtp://user:secret@relay.test:587".to_owned().into();
        assert_eq!(mail.check(), Err("settings: mail.from \"\" is empty".to_owned()));
        mail.from = "post@example.com".to_owned();
        assert_eq!(mail.check(), Ok(()));
        mail.tls = "maybe".to_owned();
        assert_eq!(mail.check(), Err("settings: mail.tls: there is no tls mode \"maybe\"".to_owned()));
        mail.relay_url = "http://user:secret@relay.test".to_owned().into();
        assert_eq!(mail.check(), Err("settings: mail.relay_url begins with http, not smtp".to_owned()));
    }

    #[test]
    fn name_servers_are_addresses_with_or_without_a_port() {
        let mut dns = Settings::sample().dns;
        assert_eq!(dns.addresses(), Ok(Vec::new()));
        dns.servers = "127.0.0.1:5300, 192.0.2.1,::1,[::1]:5300".to_owned();
        let addresses = dns.addresses().expect("addresses").iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(addresses, ["127.0.0.1:5300", "192.0.2.1:53", "[::1]:53", "[::1]:5300"]);
        dns.servers = "localhost".to_owned();
        assert_eq!(dns.check(), Err("settings: dns.servers: \"localhost\" is no address".to_owned()));
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::from("hunter2".to_owned())), "(secret)");
    }
}
