//! Publishes what sending domains ask for, as their owners would: whatever is claimed below `.test` in the stack that it belongs to, unless
//! its name begins with `broken-`.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use async_trait::async_trait;
use serde::Deserialize;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::zones::{Listener, Zones};
use crate::client::{
    answers::Page,
    api::{Api, Login},
};

/// What was asked is not asked again for so long.
const FRESH: Duration = Duration::from_millis(500);
/// Workspaces that are looked through, the newest first.
const WORKSPACES: usize = 100;

#[derive(Deserialize)]
struct Named {
    id: Uuid,
}

#[derive(Deserialize)]
struct Claimed {
    id: Uuid,
    domain: String,
    updated_at: String,
}

#[derive(Deserialize)]
struct Whole {
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    value: String,
}

/// Asks the api of a stack, whenever somebody asks for a name that only a sending domain has.
pub struct Publisher {
    login: Login,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    api: Option<Api>,
    looked: Option<Instant>,
    /// Versions of domains whose records stand in the zones.
    published: HashMap<Uuid, String>,
}

impl Publisher {
    /// It logs in when it is first asked.
    #[must_use]
    pub fn new(login: Login) -> Arc<Self> {
        Arc::new(Self { login, state: Mutex::default() })
    }

    async fn look(&self, zones: &Zones) -> Result<()> {
        let mut state = self.state.lock().await;
        if state.looked.is_some_and(|at| at.elapsed() < FRESH) {
            return Ok(());
        }
        let api = match &state.api {
            Some(api) => api.clone(),
            None => state.api.insert(Api::login(&self.login).await?).clone(),
        };
        let looked = self.publish(&api, &mut state.published, zones).await;
        // A token that has run out, an api that was restarted: from the start the next time.
        if looked.is_err() {
            state.api = None;
        }
        state.looked = Some(Instant::now());
        looked
    }

    async fn publish(&self, api: &Api, published: &mut HashMap<Uuid, String>, zones: &Zones) -> Result<()> {
        let workspaces: Page<Named> = api.get(&format!("/workspaces?limit={WORKSPACES}")).await?;
        for workspace in workspaces.data {
            let api = api.in_workspace(workspace.id);
            let claimed: Page<Claimed> = api.get("/sending-domains?limit=100").await?;
            for domain in claimed.data {
                let ours = domain.domain.ends_with(".test") && !domain.domain.starts_with("broken-");
                if !ours || published.get(&domain.id) == Some(&domain.updated_at) {
                    continue;
                }
                let whole: Whole = api.get(&format!("/sending-domains/{}", domain.id)).await?;
                for record in whole.records {
                    zones.add(&record.name, &record.kind, &record.value)?;
                }
                zones.add(&domain.domain, "MX", &format!("10 mail.{}", domain.domain))?;
                published.insert(domain.id, domain.updated_at);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Listener for Publisher {
    async fn asked(&self, name: &str, zones: &Zones) {
        let label = name.split('.').next().unwrap_or_default();
        let theirs = matches!(label, "_mochila" | "_dmarc" | "bounces" | "_mta-sts") || name.contains("._domainkey.");
        if !theirs || !name.trim_end_matches('.').ends_with(".test") {
            return;
        }
        if let Err(error) = self.look(zones).await {
            eprintln!("the sending domains could not be asked for: {error:#}");
        }
    }
}
