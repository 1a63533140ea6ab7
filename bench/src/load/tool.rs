//! Programs of others: wrk and postfix's `smtp-source`.

use std::{path::Path, process::Stdio, time::Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tokio::process::{Child, Command};

/// What wrk measured: a closed loop, so a latency here hides what a waiting client would have seen.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Wrk {
    /// Requests a second.
    pub requests_per_second: f64,
    /// Half of them were answered within this.
    pub p50_ms: f64,
    /// 99 of 100 were answered within this.
    pub p99_ms: f64,
    /// Answers that were not 2xx or 3xx, and connections that failed.
    pub errors: u64,
}

/// Asks `url` over `connections` for `seconds`.
///
/// # Errors
/// wrk is missing, or says something unexpected.
pub async fn wrk(url: &str, token: Option<&str>, connections: usize, seconds: u64) -> Result<Wrk> {
    let mut command = Command::new("wrk");
    command.args(["--latency", "-t", "1", "-c", &connections.to_string(), "-d", &format!("{seconds}s"), "--timeout", "10s"]);
    if let Some(token) = token {
        command.args(["-H", &format!("Authorization: Bearer {token}")]);
    }
    let output = command.arg(url).stdin(Stdio::null()).output().await.context("failed to start wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("wrk ended with {}: {}{text}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    parse_wrk(&text).with_context(|| format!("wrk said something else: {text}"))
}

fn parse_wrk(text: &str) -> Option<Wrk> {
    let after = |start: &str| text.lines().find_map(|line| line.trim().strip_prefix(start)).map(str::trim);
    let errors = after("Non-2xx or 3xx responses:").and_then(|count| count.parse().ok()).unwrap_or(0);
    let socket: u64 = after("Socket errors:")
        .map(|line| line.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<u64>().ok()).sum())
        .unwrap_or(0);
    Some(Wrk {
        requests_per_second: after("Requests/sec:")?.parse().ok()?,
        p50_ms: milliseconds(after("50%")?)?,
        p99_ms: milliseconds(after("99%")?)?,
        errors: errors + socket,
    })
}

/// `812.00us`, `3.20ms`, `1.10s`.
fn milliseconds(text: &str) -> Option<f64> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let number: f64 = number.parse().ok()?;
    match unit {
        "us" => Some(number / 1000.0),
        "ms" => Some(number),
        "s" => Some(number * 1000.0),
        _ => None,
    }
}

/// Sends `messages` of 2 KB over `sessions` kept connections by `smtp-source`; answers messages a second.
///
/// # Errors
/// It is missing, or the server refused.
pub async fn smtp_source(postfix: &Path, address: &str, sessions: usize, messages: usize) -> Result<f64> {
    let begun = Instant::now();
    let output = command(postfix, "smtp-source")
        .args(["-d", "-s", &sessions.to_string(), "-l", "2048", "-m", &messages.to_string()])
        .args(["-f", "news@mochila.test", "-t", "reader@north-1.test", address])
        .stdin(Stdio::null())
        .output()
        .await
        .context("failed to start smtp-source")?;
    let seconds = begun.elapsed().as_secs_f64();
    if !output.status.success() {
        bail!("smtp-source ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(messages as f64 / seconds)
}

/// Starts `smtp-sink` at `address`.
///
/// # Errors
/// It is missing.
pub fn smtp_sink(postfix: &Path, address: &str) -> Result<Child> {
    command(postfix, "smtp-sink")
        .args(["-u", "nobody", address, "512"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("failed to start smtp-sink")
}

/// A program of the unpacked package, with its libraries; of the system where nothing is unpacked.
fn command(postfix: &Path, name: &str) -> Command {
    let unpacked = postfix.join("usr/sbin").join(name);
    if !unpacked.is_file() {
        return Command::new(name);
    }
    let mut command = Command::new(unpacked);
    command.env("LD_LIBRARY_PATH", postfix.join("usr/lib/postfix"));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_understood() {
        let text = "Running 2s test @ http://127.0.0.1:1/\n  1 threads and 32 connections\n  Thread Stats   Avg      Stdev\n\
                    Latency Distribution\n     50%  812.00us\n     75%    1.20ms\n     99%    1.10s \n  100 requests in 2.00s, 1MB read\n\
                    Socket errors: connect 0, read 1, write 0, timeout 2\n  Non-2xx or 3xx responses: 4\n\
                    Requests/sec:   9876.50\nTransfer/sec:      1.00MB\n";
        let wrk = parse_wrk(text).expect("understood");
        assert_eq!(wrk, Wrk { requests_per_second: 9876.5, p50_ms: 0.812, p99_ms: 1100.0, errors: 7 });
        assert_eq!(parse_wrk("unable to connect"), None);
    }
}
