//! `/metrics` and `/health` of a worker, on a listener of its own. Depth and age of lanes are asked at scrape time.

use std::sync::Arc;

use axum::{Router, extract::State, response::IntoResponse, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use shared::{
    PgPool,
    queue::{gauges, lane::Lane, ticket::Tickets},
    sending_domains::sending_domain,
    settings::Settings,
};

use crate::stages;

#[derive(Clone)]
struct Scrape {
    recorder: PrometheusHandle,
    pool: PgPool,
    tickets: Tickets,
    settings: Arc<Settings>,
}

/// Says what each metric means, and sets to zero what counts troubles: the first one is then a step that `increase()` sees.
pub fn announce() {
    metrics::describe_gauge!("sending_domains", "domains that mail comes from, by state");
    metrics::describe_counter!("deliveries_total", "messages by route and outcome");
    metrics::describe_counter!("destination_replies_total", "replies by mailbox provider and kind");
    metrics::describe_counter!("messages_total", "transactional messages by outcome of an attempt");
    metrics::describe_histogram!(
        "message_handover_seconds",
        metrics::Unit::Seconds,
        "from the request to the server's answer, of messages that were accepted at the first attempt"
    );
    metrics::describe_counter!("shaping_rules_total", "times that an adaptive rule of the shaping file acted, by mailbox provider");
    metrics::describe_gauge!("provider_suspended", "1: nothing is sent to this mailbox provider for now");
    metrics::describe_gauge!("shaping_file_refused", "1: the shaping file is wrong, and the rules from before hold");
    metrics::describe_histogram!("smtp_send_seconds", metrics::Unit::Seconds, "one message over an open connection");
    metrics::describe_histogram!(
        "smtp_step_seconds",
        metrics::Unit::Seconds,
        "open: connection to AUTH; envelope: MAIL, RCPT, DATA; body: to the answer to the final dot"
    );
    metrics::describe_histogram!(
        "ledger_commit_seconds",
        metrics::Unit::Seconds,
        "one group of admissions or outcomes, with its waits"
    );
    metrics::describe_histogram!("ledger_rows", "messages in one group");
    metrics::describe_histogram!("job_wait_seconds", metrics::Unit::Seconds, "from due to begun");
    metrics::describe_histogram!("job_duration_seconds", metrics::Unit::Seconds, "one run of a job");
    metrics::describe_counter!("campaign_complaint_warnings_total", "campaigns with more complaints than their policies warn at");
    metrics::describe_counter!("campaign_complaint_pauses_total", "campaigns that were paused for their complaints");
    metrics::describe_counter!("inbound_mails_total", "mails that the listener took, by which of our addresses they came to");
    metrics::describe_counter!("inbound_refused_total", "connections, mails and recipients that the listener refused");
    metrics::describe_counter!("inbound_notices_total", "mails that were read, by what they were");
    metrics::describe_counter!(
        "feedback_facts_total",
        "bounces, delays, complaints and unsubscribes that were told, and whether they were news"
    );
    metrics::describe_histogram!("complaint_share_percent", "complaints by accepted mails of a campaign, whenever one was judged");
    for name in [
        "ledger_errors_total",
        "lease_expired_total",
        "scrape_errors_total",
        "campaign_complaint_warnings_total",
        "campaign_complaint_pauses_total",
    ] {
        metrics::counter!(name).absolute(0);
    }
    for lane in Lane::ALL {
        metrics::counter!("apalis_worker_restarts_total", "lane" => lane.name()).absolute(0);
    }
    for outcome in ["accepted", "deferred", "bounced", "failed", "suppressed"] {
        metrics::counter!("messages_total", "outcome" => outcome).absolute(0);
    }
    for reason in ["connections", "rate", "recipient", "size", "storage"] {
        metrics::counter!("inbound_refused_total", "reason" => reason).absolute(0);
    }
    for outcome in ["new", "again", "unknown"] {
        metrics::counter!("feedback_facts_total", "kind" => "bounce", "outcome" => outcome).absolute(0);
    }
    metrics::counter!("deliveries_total", "route" => "", "outcome" => "unknown").absolute(0);
    metrics::counter!("shaping_rules_total", "provider" => shared::deliveries::shaping::OTHER).absolute(0);
    metrics::gauge!("smtp_connections_open").set(0.0);
}

/// Serves until the task is ended.
pub async fn serve(
    listener: tokio::net::TcpListener,
    recorder: PrometheusHandle,
    pool: PgPool,
    tickets: Tickets,
    settings: Arc<Settings>,
) {
    let router = Router::new().route("/metrics", get(scrape)).route("/health", get(|| async { "ok\n" })).with_state(Scrape {
        recorder,
        pool,
        tickets,
        settings,
    });
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "metrics are not served any more");
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of domains")]
async fn scrape(State(scrape): State<Scrape>) -> impl IntoResponse {
    if let Err(error) = gauges::export(&scrape.pool, &scrape.tickets, &scrape.settings.sending).await {
        tracing::warn!(%error, "a scrape could not ask for everything");
        metrics::counter!("scrape_errors_total").increment(1);
    }
    match sending_domain::count(&scrape.pool).await {
        Ok(counts) => {
            for (state, count) in counts {
                metrics::gauge!("sending_domains", "state" => state.name()).set(count as f64);
            }
        }
        Err(error) => {
            tracing::warn!(%error, "a scrape could not count the sending domains");
            metrics::counter!("scrape_errors_total").increment(1);
        }
    }
    stages::export();
    scrape.recorder.render()
}
