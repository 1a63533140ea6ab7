//! Whether the real parts answer, within a second each. The reasons are for whoever runs the servers, and hold no address.

use std::time::Duration;

use sqlx::PgPool;

use crate::settings;

const PATIENCE: Duration = Duration::from_secs(1);

/// Whether PostgreSQL answers a query.
///
/// # Errors
/// Why not, in a few words.
pub async fn postgres(pool: &PgPool) -> Result<(), String> {
    match tokio::time::timeout(PATIENCE, sqlx::query("SELECT 1").execute(pool)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            tracing::warn!(error.full = %error, "PostgreSQL is not ready");
            Err("it refuses".to_owned())
        }
        Err(_) => Err("no answer within 1 s".to_owned()),
    }
}

/// Whether Redis answers a PING.
///
/// # Errors
/// Why not, in a few words.
pub async fn redis(settings: &settings::Redis) -> Result<(), String> {
    let ping = async {
        let client = redis::Client::open(settings.url.expose())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("PING").query_async::<String>(&mut connection).await
    };
    match tokio::time::timeout(PATIENCE, ping).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            tracing::warn!(error.full = %error, "Redis is not ready");
            Err("it refuses".to_owned())
        }
        Err(_) => Err("no answer within 1 s".to_owned()),
    }
}
