//! A domain to send from: claimed, published by the stack's name server, verified.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{answers::Page, api::Api};

/// How long a verification may take, with the name server's own questions.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Domain {
    id: Uuid,
    domain: String,
    state: String,
    #[serde(default)]
    checks: Value,
}

impl Domain {
    fn sends(&self) -> bool {
        matches!(self.state.as_str(), "verified" | "degraded")
    }
}

/// The first domain of the workspace that is verified; one of its own is claimed and verified where there is none.
///
/// # Errors
/// The server refused, or the domain is not verified within a minute.
pub(super) async fn verified(api: &Api) -> Result<String> {
    let all: Page<Domain> = api.get("/sending-domains?limit=100").await?;
    if let Some(known) = all.data.into_iter().find(Domain::sends) {
        return Ok(known.domain);
    }
    // One workspace alone can verify a domain: each run has its own.
    let name = format!("news-{}.mochila.test", &Uuid::new_v4().simple().to_string()[..8]);
    let claimed: Domain = api.post("/sending-domains", &json!({ "domain": name })).await?;
    verify(api, claimed.id).await?;
    Ok(name)
}

async fn verify(api: &Api, id: Uuid) -> Result<()> {
    #[derive(Deserialize)]
    struct Begun {
        job_id: Uuid,
    }
    let begun = Instant::now();
    loop {
        let verification: Begun = api.post(&format!("/sending-domains/{id}/verify"), &json!({})).await?;
        while !api.job(verification.job_id).await?.is_over() && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let domain: Domain = api.get(&format!("/sending-domains/{id}")).await?;
        if domain.sends() {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            bail!("the sending domain {} is still {}: {}", domain.domain, domain.state, domain.checks);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
