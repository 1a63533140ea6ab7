//! Keeping runs alive, and taking them from the dead. All by the database's clock.

use sqlx::PgPool;
use uuid::Uuid;

use super::claim::{Lease, seconds};
use crate::error::Result;

/// What became of a lease that was to be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// The lease.
    pub lease: Lease,
    /// Somebody asked for the job's end.
    pub cancel_requested: bool,
}

/// Renews the leases of one process in one statement. What is missing from the answer is lost, unless a transaction of its own holds
/// the row just now: those come back as renewed, since nobody else can take them either.
///
/// # Errors
/// The database failed; nothing was renewed.
pub async fn renew(pool: &PgPool, owner: Uuid, leases: &[Lease], lease_seconds: u64) -> Result<Vec<Renewed>> {
    let (ids, epochs): (Vec<Uuid>, Vec<i64>) = leases.iter().map(|lease| (lease.job_id, lease.epoch)).unzip();
    let rows: Vec<(Uuid, i64, bool)> = sqlx::query_as(
        "WITH mine AS (
             SELECT j.id, j.lease_epoch, j.cancel_requested_at FROM jobs j
             JOIN unnest($2::uuid[], $3::bigint[]) AS m (id, epoch) ON j.id = m.id AND j.lease_epoch = m.epoch
             WHERE j.lease_owner = $1 AND j.state = 'running'),
         free AS (SELECT j.id FROM jobs j WHERE j.id IN (SELECT id FROM mine) FOR NO KEY UPDATE SKIP LOCKED),
         renewed AS (
             UPDATE jobs j SET lease_until = clock_timestamp() + make_interval(secs => $4), updated_at = now()
             FROM free WHERE j.id = free.id)
         SELECT id, lease_epoch, cancel_requested_at IS NOT NULL FROM mine",
    )
    .bind(owner)
    .bind(ids)
    .bind(epochs)
    .bind(seconds(lease_seconds))
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(job_id, epoch, cancel_requested)| Renewed { lease: Lease { job_id, epoch }, cancel_requested })
        .collect())
}

/// What a look at the leases found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Back in line.
    pub requeued: u64,
    /// Dead: three claims in a row without progress.
    pub poisoned: u64,
}

/// Claims in a row without progress that make a job dead.
pub const POISON: i32 = 3;

/// Puts jobs whose lease ran out back in line, or among the dead. For one lease after PostgreSQL started it takes nothing: the workers
/// could not renew while it was down. Several may look at once.
///
/// # Errors
/// The database failed.
pub async fn reconcile(pool: &PgPool, lease_seconds: u64) -> Result<Reconciled> {
    let states: Vec<String> = sqlx::query_scalar(
        "WITH lost AS (
             SELECT id, lease_epoch FROM jobs
             WHERE state = 'running' AND lease_until < clock_timestamp()
               AND pg_postmaster_start_time() < clock_timestamp() - make_interval(secs => $1)
             ORDER BY id LIMIT 500 FOR NO KEY UPDATE SKIP LOCKED),
         taken AS (
             UPDATE jobs j SET
                 state = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled' WHEN deliveries >= $2 THEN 'dead' ELSE 'queued' END,
                 finished_at = CASE WHEN cancel_requested_at IS NOT NULL OR deliveries >= $2 THEN now() END,
                 last_error = CASE WHEN deliveries >= $2
                     THEN 'poison: its worker died ' || deliveries || ' times in a row without progress' ELSE 'its worker died' END,
                 -- Its next run has waited since now, not since before the run that was lost.
                 run_at = clock_timestamp(), lease_owner = NULL, lease_until = NULL, updated_at = now()
             FROM lost WHERE j.id = lost.id
             RETURNING j.id, j.lease_epoch, j.state),
         noted AS (
             UPDATE job_attempts a SET outcome = CASE taken.state WHEN 'queued' THEN 'lost' ELSE taken.state END, updated_at = now()
             FROM taken WHERE a.job_id = taken.id AND a.lease_epoch = taken.lease_epoch)
         SELECT state FROM taken",
    )
    .bind(seconds(lease_seconds))
    .bind(POISON)
    .fetch_all(pool)
    .await?;
    let mut reconciled = Reconciled::default();
    for state in states {
        if state == "dead" {
            reconciled.poisoned += 1;
        } else {
            reconciled.requeued += 1;
        }
    }
    Ok(reconciled)
}
