//! The few words spoken to Redis directly.

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use url::Url;

/// Sends one inline command, for example `FLUSHALL`, and expects `+OK`.
///
/// # Errors
/// Redis does not answer, or not with `+OK`.
pub async fn say(url: &str, command: &str) -> Result<()> {
    let url = Url::parse(url).context("REDIS_URL is not an URL")?;
    let address = (url.host_str().unwrap_or("127.0.0.1").to_owned(), url.port().unwrap_or(6379));
    let mut stream = BufReader::new(TcpStream::connect(address).await.context("Redis does not answer")?);
    let login = url.password().map(|password| format!("AUTH {password}"));
    for line in login.iter().map(String::as_str).chain([command]) {
        stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        let mut reply = String::new();
        stream.read_line(&mut reply).await?;
        if reply.trim_end() != "+OK" {
            bail!("Redis answered {} to {command}", reply.trim_end());
        }
    }
    Ok(())
}
