//! Sends one mail about an account through the house's own relay. Nobody knows whether a mail came through when the answer to its last dot
//! is lost: people wait for these, so it goes again, with the same Message-ID.

use serde_json::json;
use shared::{
    members::{letter, payload::SendAccountMail},
    routes::relay_url::RelayUrl,
    settings::{Secret, Settings},
};

use super::compose::compose;
use crate::{
    clients::smtp::{Relay, Sent, Session},
    run::{Context, Failure, Outcome, Run, Stop},
    sending::wires::{hello_name, shortened},
};

/// Seconds that a step of the conversation may take: the relay is our own, and others wait for their mail.
const LONGEST_STEP: u64 = 60;

impl Run for SendAccountMail {
    async fn run(self, context: &Context) -> Outcome {
        let Self { mail, id } = self;
        if !context.settings.mail.is_on() {
            return Ok(json!({ "mail": mail, "state": "not sent", "reason": "mail.relay_url is not set" }));
        }
        let Some(letter) = letter::find(&context.pool, mail, id, context.clock.now()).await? else {
            return Ok(json!({ "mail": mail, "state": "not sent", "reason": "nobody waits for it" }));
        };
        let bytes = compose(mail, id, &letter, &context.settings, &context.post.links, context.clock.now());
        tokio::select! {
            sent = send(&context.settings, &letter.to, &bytes) => sent.map(|code| json!({ "mail": mail, "state": "accepted", "code": code })),
            () = context.post.abandon.cancelled() => Err(Failure::Stopped(Stop::Shutdown)),
        }
    }
}

/// Answers the relay's code.
async fn send(settings: &Settings, to: &str, bytes: &[u8]) -> Result<u16, Failure> {
    let relay = relay(settings).map_err(|reason| Failure::Fail(anyhow::anyhow!(reason)))?;
    let mut session = Session::open(&relay).await?;
    let sent = session.send(&settings.mail.from, to, bytes).await;
    let outcome = match sent {
        Sent::Accepted(reply) => Ok(reply.code),
        Sent::Refused { reply, .. } if (500..=599).contains(&reply.code) => {
            Err(Failure::Fail(anyhow::anyhow!("the relay refused the mail: {}", reply.excerpt(200))))
        }
        Sent::Refused { reply, .. } => Err(Failure::Retry(anyhow::anyhow!("the relay put the mail off: {}", reply.excerpt(200)))),
        Sent::NotSent { error } | Sent::Unknown { error } => Err(Failure::Retry(error.into())),
    };
    if session.is_usable() {
        session.quit().await;
    }
    outcome
}

/// The house's own relay.
///
/// # Errors
/// A sentence that names the setting.
pub fn relay(settings: &Settings) -> Result<Relay, String> {
    let url = RelayUrl::parse(settings.mail.relay_url.expose()).map_err(|reason| format!("mail.relay_url {reason}"))?;
    Ok(Relay {
        host: url.host,
        port: url.port,
        tls: settings.mail.tls.parse()?,
        username: url.username,
        password: url.password.map(Secret::from),
        hello_name: hello_name(settings),
        timeouts: shortened(&settings.sending.timeouts, LONGEST_STEP),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relay_is_greeted_as_those_of_campaigns_are() {
        let mut settings = Settings::sample();
        settings.mail.relay_url = "smtp://127.0.0.1:2525".to_owned().into();
        settings.api.public_url = "https://mail.example.com/app".parse().expect("an URL");
        assert_eq!(relay(&settings).expect("usable").hello_name, "mail.example.com");
        settings.sending.hello_name = "mx.example.com".to_owned();
        assert_eq!(relay(&settings).expect("usable").hello_name, "mx.example.com");
    }
}
