//! Requests at a fixed rate, whatever the answers do. A latency counts from the moment at which the request was due, so that a server that
//! stalls is not spared the requests that a waiting client would not have sent (coordinated omission).

use std::time::Duration;

use anyhow::Result;
use tokio::{task::JoinSet, time::Instant};

/// Sends `total` requests, `per_second` of them each second; `request` gets the number of its request. Answers all latencies in
/// milliseconds, sorted, and how many failed.
///
/// # Errors
/// A request's task panicked.
pub async fn run<F, R>(total: u32, per_second: u32, request: F) -> Result<(Vec<f64>, u64)>
where
    F: Fn(u32) -> R,
    R: Future<Output = Result<()>> + Send + 'static,
{
    let begun = Instant::now();
    let mut under_way = JoinSet::new();
    for number in 0..total {
        let due = begun + Duration::from_secs_f64(f64::from(number) / f64::from(per_second.max(1)));
        tokio::time::sleep_until(due).await;
        let answer = request(number);
        under_way.spawn(async move {
            let answered = answer.await;
            (due.elapsed().as_secs_f64() * 1000.0, answered)
        });
    }
    let (mut latencies, mut failed) = (Vec::new(), 0);
    while let Some(ended) = under_way.join_next().await {
        let (latency, answered) = ended?;
        latencies.push(latency);
        failed += u64::from(answered.is_err());
    }
    latencies.sort_by(f64::total_cmp);
    Ok((latencies, failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_next_request_does_not_wait_for_an_answer() {
        // Nobody is answered before all of them have asked: a loop that waits would never end.
        let everybody = std::sync::Arc::new(tokio::sync::Barrier::new(20));
        let (latencies, failed) = run(20, 2_000, |number| {
            let everybody = everybody.clone();
            async move {
                everybody.wait().await;
                anyhow::ensure!(number != 7);
                Ok(())
            }
        })
        .await
        .expect("no panic");
        assert_eq!((latencies.len(), failed), (20, 1));
        assert!(latencies.is_sorted());
    }
}
