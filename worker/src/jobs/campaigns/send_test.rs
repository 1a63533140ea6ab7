//! Sends the campaign's mail to a few addresses, to look at it. The ledger knows nothing of it.

use serde_json::json;
use shared::{
    campaigns::{payload::SendTest, standing, template::Recipient},
    operations::sending::Hold,
};
use uuid::Uuid;

use crate::{
    clients::smtp::Sent,
    jobs::deliveries::send_chunk::{take_wires, unusable},
    run::{Context, Failure, Outcome, Run},
    sending::composer::{Composer, Letter},
};

impl Run for SendTest {
    async fn run(self, context: &Context) -> Outcome {
        let standing = standing::find(&context.pool, self.campaign_id).await?;
        let composer = Composer::new(self.campaign_id, &standing, &context.post).await.map_err(unusable)?;
        let (wires, booking) = take_wires(context, standing.route_id, 1, self.to.len()).await?;
        let Some(mut wire) = wires.into_iter().next() else {
            return Err(Failure::Yield(std::time::Duration::from_millis(200), None));
        };
        let mut answers = Vec::new();
        for to in &self.to {
            if context.post.guide.hold().is_some_and(Hold::holds_critical) && answers.is_empty() {
                return Err(Failure::Yield(std::time::Duration::from_secs(1), None));
            }
            let mut letter = Letter::default();
            let nobody = Uuid::now_v7();
            let recipient = Recipient { email: to, name: "", attributes: &json!({}) };
            composer
                .write(&mut letter, nobody, &recipient, context.clock.now())
                .map_err(|error| Failure::Fail(anyhow::anyhow!(error)))?;
            // Once one has gone, trying all again would send it twice.
            let session = match context.post.wires.open(&mut wire, None).await {
                Ok(session) => session,
                Err(error) if answers.is_empty() => return Err(error.into()),
                Err(error) => {
                    answers.push(json!({ "to": to, "state": "failed", "response": error.to_string() }));
                    continue;
                }
            };
            let answer = match session.send(&letter.from, to, &letter.bytes).await {
                Sent::Accepted(reply) => {
                    json!({ "to": to, "state": "accepted", "code": reply.code, "response": reply.excerpt(200) })
                }
                Sent::Refused { reply, .. } => {
                    json!({ "to": to, "state": "refused", "code": reply.code, "response": reply.excerpt(200) })
                }
                Sent::NotSent { error } => json!({ "to": to, "state": "failed", "response": error.to_string() }),
                Sent::Unknown { error } => json!({ "to": to, "state": "unknown", "response": error.to_string() }),
            };
            answers.push(answer);
        }
        context.post.wires.put_back(wire);
        booking.went_but(0);
        Ok(json!({ "mails": answers }))
    }
}
