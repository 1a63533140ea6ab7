//! Every kind of job that this build can run, one line each.

use std::{collections::HashMap, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use serde_json::Value;
use shared::{
    campaigns::payload::{CancelRecipients, LaunchCampaign, RetryRecipients, SendTest},
    deliveries::payload::SendChunk,
    feedback::payload::{ReadNotice, ReadPost},
    imports::payload::LoadContacts,
    members::payload::SendAccountMail,
    messages::payload::SendMessage,
    routes::payload::CheckRoute,
    sending_domains::payload::VerifyDomain,
};

use crate::run::{Context, Failure, Outcome, Run};

type Runner = fn(Value, Context) -> BoxFuture<'static, Outcome>;

/// Kinds by name.
pub struct Registry(HashMap<&'static str, (Runner, Duration)>);

impl Registry {
    /// All of them.
    #[must_use]
    pub fn new() -> Self {
        Self(HashMap::new())
            .with::<LaunchCampaign>()
            .with::<CancelRecipients>()
            .with::<RetryRecipients>()
            .with::<SendChunk>()
            .with::<SendTest>()
            .with::<ReadNotice>()
            .with::<ReadPost>()
            .with::<LoadContacts>()
            .with::<SendAccountMail>()
            .with::<SendMessage>()
            .with::<CheckRoute>()
            .with::<VerifyDomain>()
    }

    fn with<J: Run>(mut self) -> Self {
        self.0.insert(J::NAME, (run::<J>, J::TIMEOUT));
        self
    }

    /// Time limit of a run of this kind; `None`: this build does not know the kind.
    #[must_use]
    pub fn timeout(&self, kind: &str) -> Option<Duration> {
        self.0.get(kind).map(|(_, timeout)| *timeout)
    }

    /// Runs a job of this kind once.
    pub async fn run(&self, kind: &str, payload: Value, context: Context) -> Outcome {
        match self.0.get(kind) {
            Some((runner, _)) => runner(payload, context).await,
            // A newer build enqueued it: one of its workers will take it.
            None => Err(Failure::Yield(Duration::from_secs(30), Some(format!("this build does not know jobs of kind {kind}")))),
        }
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

fn run<J: Run>(payload: Value, context: Context) -> BoxFuture<'static, Outcome> {
    async move {
        let job: J =
            serde_json::from_value(payload).map_err(|error| Failure::Fail(anyhow::anyhow!("its payload is malformed: {error}")))?;
        job.run(&context).await
    }
    .boxed()
}
