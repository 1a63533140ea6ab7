//! The connection to Redis, and the prefix of every key. Nothing there cannot be rebuilt from PostgreSQL.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};

use crate::settings;

/// A connection that reconnects by itself, with the prefix of this deployment.
#[derive(Clone)]
pub struct Keyspace {
    connection: ConnectionManager,
    prefix: String,
}

impl Keyspace {
    /// Makes the connection when it is first used; a call waits for the settings' timeout at most.
    ///
    /// # Errors
    /// The address is malformed.
    pub fn new(settings: &settings::Redis) -> Result<Self, redis::RedisError> {
        let timeout = Duration::from_millis(settings.timeout_ms);
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout))
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_millis(200));
        let client = redis::Client::open(settings.url.expose())?;
        let connection = ConnectionManager::new_lazy_with_config(client, config)?;
        Ok(Self { connection, prefix: settings.prefix.clone() })
    }

    /// A handle on the connection.
    #[must_use]
    pub fn connection(&self) -> ConnectionManager {
        self.connection.clone()
    }

    /// `prefix:name`.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// Whether Redis answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), redis::RedisError> {
        redis::cmd("PING").query_async::<String>(&mut self.connection()).await.map(|_| ())
    }
}
