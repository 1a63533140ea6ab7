//! Asks name servers for what a sending domain must have published, and writes down what follows.

use serde_json::json;
use shared::{
    campaigns::sender_domain,
    database,
    error::Error,
    queue::claim,
    sending_domains::{
        check::Check,
        dkim_key,
        payload::VerifyDomain,
        records,
        sending_domain::{self, State},
        sources::Sources,
        usable,
    },
};

use crate::{
    clients::dns::Dns,
    run::{Context, Failure, Outcome, Run},
    verification::{self, Subject},
};

impl Run for VerifyDomain {
    async fn run(self, context: &Context) -> Outcome {
        // A cache of its own: who asks has just changed something.
        let dns = Dns::from_settings(&context.settings.dns).map_err(|reason| Failure::Fail(anyhow::anyhow!(reason)))?;
        let mut connection = context.pool.acquire().await?;
        let domain = match sending_domain::read(&mut connection, self.sending_domain_id).await {
            Err(Error::NotFound { .. }) => return gone(),
            read => read?,
        };
        let subject = Subject {
            keys: dkim_key::published(&mut connection, domain.id).await?,
            sources: Sources::read(&mut connection, &context.settings).await?,
            inbound_host: records::inbound_host(&context.settings),
            domain,
        };
        // Nobody waits with a connection for name servers.
        drop(connection);
        let found = verification::all(&dns, &subject).await;
        let mut transaction = database::begin(&context.pool).await?;
        claim::hold(&mut transaction, context.lease()).await?;
        let recorded =
            sending_domain::record(&mut transaction, subject.domain.id, found.checks, &found.seen, context.clock.now()).await;
        let recorded = match recorded {
            Err(Error::NotFound { .. }) => return gone(),
            recorded => recorded?,
        };
        let (before, domain) = (recorded.before, recorded.domain);
        if domain.state == State::Failed {
            let reason = usable::refusal(&domain.domain, domain.state, &domain.checks);
            let paused = sender_domain::hold_back(&mut transaction, domain.workspace_id, &domain.domain, &reason).await?;
            for campaign in paused {
                tracing::warn!(campaign.id = %campaign, domain.id = %domain.id, "a campaign is paused: its sending domain has failed");
            }
        }
        transaction.commit().await?;
        let failed: Vec<&str> = domain.checks.iter().filter(|check| check.fails()).map(|check| check.name.as_str()).collect();
        let unanswered: Vec<&Check> = domain.checks.iter().filter(|check| !check.answered).collect();
        if before != domain.state {
            if domain.state == State::Verified {
                tracing::info!(domain.id = %domain.id, %before, state = %domain.state, "a sending domain is verified");
            } else {
                tracing::warn!(domain.id = %domain.id, %before, state = %domain.state, ?failed, "a sending domain has changed");
            }
        }
        Ok(json!({
            "domain": domain.domain, "state": domain.state, "failed": failed,
            "unanswered": unanswered.iter().map(|check| &check.name).collect::<Vec<_>>(),
        }))
    }
}

fn gone() -> Outcome {
    Err(Failure::Fail(anyhow::anyhow!("the sending domain was deleted")))
}
