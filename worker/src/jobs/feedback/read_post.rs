//! Reads one post of a provider.

use serde_json::json;
use shared::{
    database,
    feedback::{fact::Fact, payload::ReadPost, post, providers, references, take},
};

use super::taking::take_all;
use crate::run::{Context, Outcome, Run};

impl Run for ReadPost {
    async fn run(self, context: &Context) -> Outcome {
        let Some(post) = post::find(&context.pool, self.feedback_post_id).await? else {
            return Ok(json!({ "state": "gone" }));
        };
        if post.state != "received" {
            return Ok(json!({ "state": post.state }));
        }
        let within = (!post.everywhere).then_some(post.workspace_id);
        let (mut facts, mut strange) = (Vec::new(), Vec::new());
        for told in providers::told(post.kind, &post.body).unwrap_or_default() {
            let references = references::in_text(&context.post.links, &told.event);
            let mut connection = context.pool.acquire().await?;
            match take::believed(&mut connection, &references, within).await? {
                Some(about) => {
                    facts.push(Fact { about, source: post.kind.way(), what: told.what, received_at: post.created_at });
                }
                None => strange.push(told.what.name()),
            }
        }
        let mut counts = take_all(context, &facts).await?;
        strange.into_iter().for_each(|kind| counts.unknown(kind));
        let mut transaction = database::begin(&context.pool).await?;
        post::read(&mut transaction, post.id, counts.believed()).await?;
        transaction.commit().await?;
        Ok(json!({ "source": post.kind, "facts": counts }))
    }
}
