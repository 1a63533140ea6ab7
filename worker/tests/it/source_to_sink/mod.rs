//! Campaigns through the whole house to mail servers that misbehave: what the ledger says in the end, and what the servers saw.

mod connections;
mod encryption;
mod replies;
mod wire;

use shared::queue::lane::Lane;
use uuid::Uuid;

use crate::house::House;

/// A house that gives up on no route: a server that misbehaves all the time is what these tests are about.
async fn patient() -> House {
    let mut house = House::new().await;
    house.stage.settings.sending.breaker.failures = 1_000;
    house
}

/// Sends to so many recipients of each domain and answers [`summary`].
async fn send(house: &House, audience: &[(&str, i32)]) -> String {
    let campaign = house.stage.campaign(audience).await.campaign_id;
    let worker = house.worker(&[(Lane::Bulk, 2)]).await;
    house.until_finished(campaign).await;
    worker.stop().await;
    summary(house, campaign).await
}

/// A line for each kind of outcome (how many, state, code, enhanced code, reason, attempts), and one for what the server counted.
async fn summary(house: &House, campaign: Uuid) -> String {
    let outcomes = house
        .stage
        .text(
            "SELECT coalesce(string_agg(line, E'\n' ORDER BY line), '') FROM (
                 SELECT concat_ws(' ', count(*), state, smtp_code, enhanced_code, '(' || reason || ')',
                                  'in ' || attempts || CASE attempts WHEN 1 THEN ' attempt' ELSE ' attempts' END) AS line
                 FROM deliveries WHERE campaign_id::text = $1
                 GROUP BY state, smtp_code, enhanced_code, reason, attempts) lines",
            &campaign.to_string(),
        )
        .await;
    let stats = house.sink.counts.stats();
    let refused: (u64, u64) =
        stats.domains.values().fold((0, 0), |(soft, hard), domain| (soft + domain.tempfailed, hard + domain.rejected));
    format!(
        "{outcomes}\nsink: received {}, twice {}, 4xx {}, 5xx {}, protocol errors {}",
        stats.received, stats.duplicates, refused.0, refused.1, stats.protocol_errors
    )
}
