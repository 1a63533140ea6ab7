//! How many of a campaign's recipients complain: past the policy's shares the campaign carries a warning, or is paused.
//!
//! Counting a campaign's accepted mails is dear, so it is done where complaints have grown by a tenth, or once a minute.

use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use crate::{
    database,
    deliveries::tally,
    error::Result,
    suppressions::policy::{self, Policy},
};

/// What was found of a campaign, and done.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Which.
    pub campaign_id: Uuid,
    /// Of its accepted mails so many percent are complained about.
    pub percent: f64,
    /// It carries the warning since now.
    pub warned: bool,
    /// It is paused since now.
    pub paused: bool,
}

/// Whether a campaign's complaints are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// They are not, or it is too early to say.
    Fine,
    /// More than the policy warns at.
    Warn,
    /// More than the policy pauses at.
    Pause,
}

/// The rule. `accepted` counts those that were handed over and did not bounce.
#[must_use]
pub fn judge(complained: i64, accepted: i64, policy: &Policy) -> (Verdict, f64) {
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let percent = 100.0 * complained as f64 / accepted.max(1) as f64;
    let verdict = match percent {
        _ if accepted < policy.complaint_least_accepted => Verdict::Fine,
        percent if percent > policy.complaint_pause_percent => Verdict::Pause,
        percent if percent > policy.complaint_warn_percent => Verdict::Warn,
        _ => Verdict::Fine,
    };
    (verdict, percent)
}

#[derive(FromRow)]
struct Due {
    campaign_id: Uuid,
    workspace_id: Uuid,
    complained: i64,
}

/// Looks at the campaigns whose complaints have grown. Several may look at once. Answers those that had enough accepted mails.
///
/// # Errors
/// The database failed; the same call again is safe.
pub async fn watch(pool: &PgPool) -> Result<Vec<Judged>> {
    let due: Vec<Due> = sqlx::query_as(
        "SELECT k.campaign_id, c.workspace_id, k.complained FROM campaign_complaints k JOIN campaigns c ON c.id = k.campaign_id
         WHERE k.complained > k.judged
           AND (k.judged_at IS NULL OR k.judged_at < now() - interval '1 minute' OR k.complained * 10 > k.judged * 11)
         ORDER BY k.judged_at NULLS FIRST LIMIT 50",
    )
    .fetch_all(pool)
    .await?;
    let mut judged = Vec::new();
    for Due { campaign_id, workspace_id, complained } in due {
        let accepted = tally::count(pool, campaign_id).await?.accepted;
        let mut connection = pool.acquire().await?;
        let policy = policy::of(&mut connection, workspace_id).await?.policy;
        let (verdict, percent) = judge(complained, accepted, &policy);
        let mut transaction = database::begin(pool).await?;
        let (mut warned, mut paused) = (false, false);
        if verdict >= Verdict::Warn {
            warned = sqlx::query(
                "UPDATE campaigns SET complaint_warning_at = now(), updated_at = now() WHERE id = $1 AND complaint_warning_at IS NULL",
            )
            .bind(campaign_id)
            .execute(&mut *transaction)
            .await?
            .rows_affected()
                == 1;
        }
        if verdict == Verdict::Pause {
            let reason = format!(
                "{percent:.2} % of its accepted mails are complained about; the workspace's policy pauses above {} %",
                policy.complaint_pause_percent
            );
            paused = sqlx::query(
                "WITH marked AS (
                     UPDATE campaign_complaints k SET paused_at = $3, updated_at = now() FROM campaigns c
                     WHERE k.campaign_id = $1 AND c.id = $1 AND c.state = 'sending' AND $3 >= 2 * coalesce(k.paused_at, 0)
                     RETURNING k.campaign_id)
                 UPDATE campaigns SET state = 'paused', pause_reason = $2, updated_at = now()
                 WHERE id IN (SELECT campaign_id FROM marked) AND state = 'sending'",
            )
            .bind(campaign_id)
            .bind(reason)
            .bind(complained)
            .execute(&mut *transaction)
            .await?
            .rows_affected()
                == 1;
        }
        sqlx::query(
            "UPDATE campaign_complaints SET judged = greatest(judged, $2), judged_at = now(), updated_at = now() WHERE campaign_id = $1",
        )
        .bind(campaign_id)
        .bind(complained)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        if accepted >= policy.complaint_least_accepted {
            judged.push(Judged { campaign_id, percent, warned, paused });
        }
    }
    Ok(judged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_warn_above_a_tenth_of_a_percent_and_pause_above_three_tenths_once_there_are_enough_mails() {
        let policy = Policy::default();
        let verdict = |complained, accepted| judge(complained, accepted, &policy).0;
        assert_eq!(verdict(900, 999), Verdict::Fine, "too few mails to say");
        assert_eq!(verdict(1, 1000), Verdict::Fine, "exactly a tenth");
        assert_eq!(verdict(2, 1000), Verdict::Warn);
        assert_eq!(verdict(3, 1000), Verdict::Warn, "exactly three tenths");
        assert_eq!(verdict(4, 1000), Verdict::Pause);
        assert_eq!(verdict(0, 0), Verdict::Fine);
    }
}
