//! Takes facts, each in a transaction of its own: a run that dies half-way leaves nothing that the next one would do twice.

use serde::Serialize;
use shared::{
    database,
    feedback::{
        fact::Fact,
        take::{Taken, take},
    },
    queue::claim,
};

use crate::run::{Context, Failure};

/// What became of them.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Counts {
    new: u64,
    again: u64,
    unknown: u64,
}

impl Counts {
    /// Whether any was about a mail that was sent here.
    pub(super) fn believed(self) -> bool {
        self.new + self.again > 0
    }

    /// Adds one that names no mail of ours.
    pub(super) fn unknown(&mut self, kind: &'static str) {
        self.unknown += 1;
        metrics::counter!("feedback_facts_total", "kind" => kind, "outcome" => "unknown").increment(1);
    }
}

pub(super) async fn take_all(context: &Context, facts: &[Fact]) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    for fact in facts {
        let mut transaction = database::begin(&context.pool).await?;
        claim::hold(&mut transaction, context.lease()).await?;
        let taken = take(&mut transaction, fact).await?;
        transaction.commit().await?;
        let outcome = match taken {
            Taken::New => {
                counts.new += 1;
                "new"
            }
            Taken::Again => {
                counts.again += 1;
                "again"
            }
            Taken::Unknown => {
                counts.unknown(fact.what.name());
                continue;
            }
        };
        metrics::counter!("feedback_facts_total", "kind" => fact.what.name(), "outcome" => outcome).increment(1);
    }
    Ok(counts)
}
