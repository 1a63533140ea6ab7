//! Errors of ours, told to a Sentry-compatible server. Off unless `telemetry.sentry_dsn` is set. Events hold no personal data: what looks
//! like an address is taken out of every string, and there are neither users, requests nor breadcrumbs.

use std::time::Duration;

use sentry::{ClientInitGuard, ClientOptions, protocol::Event, types::Dsn};
use serde_json::Value;

use crate::settings::Telemetry;

/// Starts the client, for the whole process; `None`: it is off. It sends from a thread of its own, with a bounded queue.
///
/// # Errors
/// A sentence that does not hold the DSN: it is a secret.
pub(super) fn client(settings: &Telemetry, service: &'static str) -> Result<Option<ClientInitGuard>, String> {
    let dsn = settings.sentry_dsn.expose();
    if dsn.is_empty() {
        return Ok(None);
    }
    dsn.parse::<Dsn>().map_err(|error| format!("settings: telemetry.sentry_dsn is malformed: {error}"))?;
    let options = ClientOptions::new()
        .dsn(dsn)
        .release(format!("{service}@{}", env!("CARGO_PKG_VERSION")))
        .max_breadcrumbs(0)
        .send_default_pii(false)
        .shutdown_timeout(Duration::from_secs(2))
        .before_send(scrubbed);
    Ok(Some(sentry::init(options)))
}

/// Sends what waits, for two seconds at most.
pub(super) async fn flush(client: ClientInitGuard) {
    let _ = tokio::task::spawn_blocking(move || client.close(Some(Duration::from_secs(2)))).await;
}

/// The event without addresses. One that cannot be taken apart is not sent.
fn scrubbed(mut event: Event<'static>) -> Option<Event<'static>> {
    event.user = None;
    event.request = None;
    event.breadcrumbs = Vec::new().into();
    let mut value = serde_json::to_value(&event).ok()?;
    scrub(&mut value);
    serde_json::from_value(value).ok()
}

fn scrub(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('@') => *text = without_addresses(text),
        Value::Array(items) => items.iter_mut().for_each(scrub),
        Value::Object(fields) => fields.values_mut().for_each(scrub),
        _ => {}
    }
}

fn without_addresses(text: &str) -> String {
    let is_edge = |c: char| c.is_whitespace() || "\"'`()<>[]{},;:=|/\\".contains(c);
    let mut clean = String::with_capacity(text.len());
    for piece in text.split_inclusive(is_edge) {
        let word = piece.trim_end_matches(is_edge);
        let is_address = word.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.'));
        clean.push_str(if is_address && !word.starts_with("mochila-") { "[address]" } else { word });
        clean.push_str(&piece[word.len()..]);
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_an_address_is_taken_out() {
        let text =
            "duplicate key: Key (email)=(ann+x@mail.test) already exists, smtp://bob@relay.test:25 <c@d.example>; a @ b; x@y";
        assert_eq!(
            without_addresses(text),
            "duplicate key: Key (email)=([address]) already exists, smtp://[address]:25 <[address]>; a @ b; x@y"
        );
        assert_eq!(without_addresses("mochila-api@0.1.0"), "mochila-api@0.1.0");
    }
}
