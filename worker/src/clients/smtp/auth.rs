use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use shared::deliveries::reply::Stage;

use super::{error::OpenError, offer::Offer, relay::Relay, wire::Wire};

/// AUTH PLAIN, or LOGIN where only that is offered (RFC 4954). Never over plain text, but to a loopback address.
pub(super) async fn authenticate(wire: &mut Wire, offer: &Offer, relay: &Relay) -> Result<(), OpenError> {
    let Some(username) = &relay.username else { return Ok(()) };
    let password = relay.password.as_ref().map_or("", |password| password.expose());
    if !wire.stream.is_encrypted() && !wire.stream.is_loopback() {
        return Err(OpenError::AuthInPlainText { host: relay.host.clone() });
    }
    for (field, value) in [("username", username.as_str()), ("password", password)] {
        if value.contains('\0') {
            return Err(OpenError::Unusable { field, value: String::new() });
        }
    }
    let limit = Duration::from_secs(relay.timeouts.command);
    if offer.auth_plain {
        let line = format!("AUTH PLAIN {}\r\n", STANDARD.encode(format!("\0{username}\0{password}")));
        expect(wire, &line, 235, limit).await
    } else if offer.auth_login {
        expect(wire, "AUTH LOGIN\r\n", 334, limit).await?;
        expect(wire, &format!("{}\r\n", STANDARD.encode(username)), 334, limit).await?;
        expect(wire, &format!("{}\r\n", STANDARD.encode(password)), 235, limit).await
    } else {
        Err(OpenError::AuthNotOffered { host: relay.host.clone() })
    }
}

async fn expect(wire: &mut Wire, line: &str, code: u16, limit: Duration) -> Result<(), OpenError> {
    wire.write(line.as_bytes(), limit).await.map_err(|(_, trouble)| trouble.at(Stage::Auth))?;
    if wire.code(Stage::Auth, limit).await? == code {
        Ok(())
    } else {
        Err(OpenError::Refused { stage: Stage::Auth, reply: wire.reply() })
    }
}
