//! The counting sink: what really arrived.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

/// The sink's counters since its start or last reset.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Stats {
    /// Messages taken.
    pub received: u64,
    /// Distinct Message-IDs among them.
    pub unique_message_ids: u64,
    /// Messages whose Message-ID had been taken before.
    pub duplicates: u64,
    /// Connections open now.
    #[serde(default)]
    pub connections_open: u64,
    /// Messages taken, by recipient domain.
    #[serde(default)]
    pub by_domain: BTreeMap<String, u64>,
}

/// A sink, by its HTTP address.
#[derive(Clone)]
pub struct Sink {
    http: reqwest::Client,
    base: String,
}

impl Sink {
    /// At `http://host:port`.
    ///
    /// # Errors
    /// No HTTP client can be set up.
    pub fn at(base: &str) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned() })
    }

    /// What arrived.
    ///
    /// # Errors
    /// The sink does not answer.
    pub async fn stats(&self) -> Result<Stats> {
        let response = self.http.get(format!("{}/stats", self.base)).send().await.context("the sink does not answer")?;
        Ok(response.error_for_status()?.json().await?)
    }

    /// The last messages, newest first.
    ///
    /// # Errors
    /// The sink does not answer.
    pub async fn last_messages(&self, limit: usize) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Messages {
            data: Vec<String>,
        }
        let url = format!("{}/messages?limit={limit}", self.base);
        let response = self.http.get(url).send().await.context("the sink does not answer")?;
        Ok(response.error_for_status()?.json::<Messages>().await?.data)
    }

    /// When each message to a `timed*` domain came first: Message-ID to milliseconds of Unix time.
    ///
    /// # Errors
    /// The sink does not answer.
    pub async fn arrivals(&self, domain: &str) -> Result<BTreeMap<String, f64>> {
        let address = format!("{}/domains/{domain}/arrivals", self.base);
        let response = self.http.get(address).send().await.context("the sink does not answer")?;
        // Nothing has come there yet.
        if response.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(BTreeMap::new());
        }
        Ok(response.error_for_status()?.json().await?)
    }

    /// Counts from nothing again.
    ///
    /// # Errors
    /// The sink does not answer.
    pub async fn reset(&self) -> Result<()> {
        self.http.post(format!("{}/reset", self.base)).send().await.context("the sink does not answer")?.error_for_status()?;
        Ok(())
    }

    /// Delays the reply to each message by `milliseconds`.
    ///
    /// # Errors
    /// The sink does not answer.
    pub async fn delay(&self, milliseconds: u64) -> Result<()> {
        let config: Value = json!({"delay_ms": milliseconds});
        self.http
            .put(format!("{}/config", self.base))
            .json(&config)
            .send()
            .await
            .context("the sink does not answer")?
            .error_for_status()?;
        Ok(())
    }
}
