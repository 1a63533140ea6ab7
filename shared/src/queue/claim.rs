//! Every run starts here: a ticket is only a hint, the claim decides.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{job::Job, lane::Lane};
use crate::error::{Error, Result};

/// The fence of one run. Every write that belongs to the run names it; after another claim it names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The job.
    pub job_id: Uuid,
    /// The claim that this run began with.
    pub epoch: i64,
}

/// What a claim goes by.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// The lane that the ticket was for.
    pub lane: Lane,
    /// The worker process.
    pub owner: Uuid,
    /// How long the job is its own without a heartbeat.
    pub lease_seconds: u64,
    /// Jobs of one destination that run at once, over all workers.
    pub destination_cap: i32,
    /// A job that a critical ticket named; it is taken if it still waits.
    pub hint: Option<Uuid>,
}

impl Claim {
    /// Takes the job that is due now by fair order: least served workspace, least served flow, priority, age; never one of a paused
    /// campaign, of a destination that cools down, is suspended, or has its cap of jobs. `None`: there is nothing to do, which is what a
    /// stale, doubled or forged ticket gets.
    ///
    /// # Errors
    /// The database failed; a claim may have been committed then, and its lease runs out by itself.
    pub async fn take(self, pool: &PgPool) -> Result<Option<Job>> {
        let job = sqlx::query_as::<_, Job>("SELECT * FROM claim_job($1, $2, make_interval(secs => $3), $4, $5)")
            .bind(self.lane.name())
            .bind(self.owner)
            .bind(seconds(self.lease_seconds))
            .bind(self.destination_cap)
            .bind(self.hint)
            .fetch_optional(pool)
            .await?;
        Ok(job)
    }
}

/// Holds the lease for the rest of the transaction: nobody can claim the job before it ends. Call it first in a transaction that must be
/// fenced.
///
/// # Errors
/// [`Error::Conflict`] where the lease is lost.
pub async fn hold(connection: &mut PgConnection, lease: Lease) -> Result<()> {
    sqlx::query_scalar::<_, i32>("SELECT 1 FROM jobs WHERE id = $1 AND lease_epoch = $2 AND state = 'running' FOR SHARE")
        .bind(lease.job_id)
        .bind(lease.epoch)
        .fetch_optional(connection)
        .await?
        .map(|_| ())
        .ok_or_else(|| Error::Conflict(format!("job {} is no longer leased to this run", lease.job_id)))
}

/// For `make_interval(secs => …)`.
pub(super) fn seconds(value: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "settings of seconds are far below 2^52")]
    let seconds = value as f64;
    seconds
}
