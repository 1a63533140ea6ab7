//! Messages to one person while a campaign has everything: from the moment at which a request was due to the arrival at the sink.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use super::{
    figures::{head, quantile, row},
    open_loop,
    place::Place,
};
use crate::{
    client::{api::Api, contacts, sink::Sink},
    demo::{journey::float, screen::grouped, template},
};

/// Recipients at such a domain have their moment of arrival noted by the sink.
const DOMAIN: &str = "timed.test";
/// The domain that the messages come from; `deploy/local bench` has made it a verified one.
const FROM: &str = "mochila.test";

/// What to send.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    place: Place,
    /// Recipients of the campaign.
    #[arg(long, default_value_t = 200_000)]
    recipients: usize,
    /// Messages a second.
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// Seconds of messages, once without and once with the campaign, which must take longer.
    #[arg(long, default_value_t = 12)]
    seconds: u32,
}

#[derive(Serialize)]
struct Figures {
    recipients: usize,
    rate: u32,
    idle: Latencies,
    beside_campaign: Latencies,
    /// Accepted messages a second of the campaign meanwhile.
    campaign_per_second: f64,
    /// Whether it was on its way until the last message.
    campaign_outlasted: bool,
}

#[derive(Serialize)]
struct Latencies {
    messages: usize,
    failed: u64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    longest_ms: f64,
    /// The request alone, until its answer.
    answer_p99_ms: f64,
}

#[derive(Deserialize)]
struct Taken {
    message_id: String,
}

/// Measures and prints.
///
/// # Errors
/// A message did not arrive, or a request failed.
pub async fn run(options: &Options) -> Result<()> {
    let place = &options.place;
    let api = Arc::new(Api::login(&place.login).await?);
    let connections = place.connections * place.worker_pids.len();
    let conditions = place.conditions(
        "messages",
        format!("{} workers, {connections} connections for campaigns, one relay without TLS", place.worker_pids.len()),
    );
    conditions.print();
    let sink = Sink::at(&place.sink_http)?;
    let route = api.route_to(&format!("smtp://{}", place.sink_smtp), connections).await?;
    let list = api.load_list("bench messages", contacts::wide_csv(1, options.recipients), Duration::from_secs(600)).await?;
    let idle = measure(options, &api, &sink).await?;

    let campaign = api.new_campaign("bench messages", list, route, template::SUBJECT, template::HTML).await?;
    // Not reset: connections that are kept would go on counting into what they knew.
    let earlier = sink.stats().await?.received;
    api.ask(campaign, "send").await?;
    let begun = Instant::now();
    while sink.stats().await?.received < earlier + (options.recipients / 50) as u64 {
        ensure!(begun.elapsed().as_secs() < 60, "the campaign does not begin");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (before, begun) = (sink.stats().await?.received, Instant::now());
    let beside = measure(options, &api, &sink).await?;
    let campaign_per_second = float(sink.stats().await?.received - before) / begun.elapsed().as_secs_f64();
    let campaign_outlasted = !api.progress(campaign).await?.is_over();

    println!("From the moment at which each request was due to its arrival at the sink, {} a second:\n", options.rate);
    head(&["beside", "messages", "p50, ms", "p95, ms", "p99, ms", "longest, ms", "answer p99, ms", "failed"]);
    let campaign_name = format!("a campaign to {}, {campaign_per_second:.0}/s", grouped(options.recipients as u64));
    for (beside, found) in [("nothing", &idle), (campaign_name.as_str(), &beside)] {
        row([
            beside.to_owned(),
            found.messages.to_string(),
            format!("{:.1}", found.p50_ms),
            format!("{:.1}", found.p95_ms),
            format!("{:.1}", found.p99_ms),
            format!("{:.1}", found.longest_ms),
            format!("{:.1}", found.answer_p99_ms),
            found.failed.to_string(),
        ]);
    }
    if !campaign_outlasted {
        println!("\nThe campaign was over before the last message: give it more --recipients.");
    }
    let figures = Figures {
        recipients: options.recipients,
        rate: options.rate,
        idle,
        beside_campaign: beside,
        campaign_per_second,
        campaign_outlasted,
    };
    conditions.write(place.json.as_ref(), &figures)
}

async fn measure(options: &Options, api: &Arc<Api>, sink: &Sink) -> Result<Latencies> {
    let (total, rate) = (options.rate * options.seconds, options.rate);
    let due: Arc<Mutex<BTreeMap<String, f64>>> = Arc::default();
    let begun = (Instant::now(), unix_ms());
    let request = |number: u32| {
        let (api, due) = (api.clone(), due.clone());
        let at = begun.1 + f64::from(number) * 1000.0 / f64::from(rate.max(1));
        async move {
            let body = json!({
                "from": { "name": "Orchard & Harbor", "email": format!("orders@{FROM}") },
                "to": format!("ann-{number}@{DOMAIN}"),
                "subject": "Order {{ order.number }}",
                "html": "<p>Hello {{ name }}, order {{ order.number }} is on its way.</p>",
                "data": { "name": "Ann", "order": { "number": number } },
            });
            let taken: Taken = api.post("/messages", &body).await?;
            due.lock().unwrap_or_else(PoisonError::into_inner).insert(taken.message_id.trim_matches(['<', '>']).to_owned(), at);
            anyhow::Ok(())
        }
    };
    let (answers, failed) = open_loop::run(total, rate, request).await?;
    let due = std::mem::take(&mut *due.lock().unwrap_or_else(PoisonError::into_inner));
    let patience = Instant::now();
    let arrivals = loop {
        let arrivals = sink.arrivals(DOMAIN).await?;
        if due.keys().all(|id| arrivals.contains_key(id)) {
            break arrivals;
        }
        let missing = due.keys().filter(|id| !arrivals.contains_key(*id)).count();
        ensure!(patience.elapsed().as_secs() < 60, "{missing} messages have not arrived after a minute");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let mut latencies: Vec<f64> = due.iter().filter_map(|(id, at)| Some(arrivals.get(id)? - at)).collect();
    latencies.sort_by(f64::total_cmp);
    let longest_ms = latencies.last().copied().context("no message arrived")?;
    Ok(Latencies {
        messages: latencies.len(),
        failed,
        p50_ms: quantile(&latencies, 0.5),
        p95_ms: quantile(&latencies, 0.95),
        p99_ms: quantile(&latencies, 0.99),
        longest_ms,
        answer_p99_ms: quantile(&answers, 0.99),
    })
}

fn unix_ms() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1000.0
}
