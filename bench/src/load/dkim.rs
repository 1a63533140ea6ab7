//! Messages a second that one relay accepts where each is signed. With which of the domain's keys is set up by whoever calls this.

use anyhow::{Result, bail};
use serde::Serialize;
use std::time::Duration;
use uuid::Uuid;

use super::{
    campaign::{Run, Shot},
    figures::{head, median, row},
    place::Place,
    signing,
};
use crate::{
    client::{api::Api, contacts, sink::Sink},
    demo::{screen::grouped, template},
};

/// Octets of one row of [`long`], about.
const ROW: usize = 220;

/// What to send.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    place: Place,
    /// What the domain signs with, as the signatures name it, e.g. rsa-sha256; several by commas.
    #[arg(long, value_delimiter = ',')]
    keys: Vec<String>,
    /// Kilobytes of a mail: 2, or more.
    #[arg(long, default_value_t = 2)]
    kilobytes: usize,
    /// Recipients of a measured campaign; of longer mails a quarter.
    #[arg(long, default_value_t = 60_000)]
    recipients: usize,
    /// Measured campaigns; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Recipients of the campaign before them.
    #[arg(long, default_value_t = 10_000)]
    warm_up: usize,
}

#[derive(Serialize)]
struct Figures {
    keys: Vec<String>,
    octets: usize,
    recipients: usize,
    median_per_second: f64,
    /// Signatures with these keys that all cores make a second where they do nothing else.
    bare_per_second: f64,
    runs: Vec<Run>,
}

/// Measures and prints.
///
/// # Errors
/// A campaign did not finish, a message came twice, or the mails are not signed with these keys.
pub async fn run(options: &Options) -> Result<()> {
    let place = &options.place;
    let api = Api::login(&place.login).await?;
    let recipients = if options.kilobytes > 2 { options.recipients.div_ceil(4) } else { options.recipients };
    let sink = Sink::at(&place.sink_http)?;
    let workers = place.worker_pids.clone();
    let connections = place.connections * workers.len();
    let keys = options.keys.join(" and ");
    let settings =
        format!("{} workers, {connections} connections, mails of {} KB signed with {keys}", workers.len(), options.kilobytes);
    let conditions = place.conditions("dkim", settings);
    conditions.print();

    let html = if options.kilobytes <= 2 { template::HTML.to_owned() } else { long(options.kilobytes * 1000) };
    let route = api.route_to(&format!("smtp://{}", place.sink_smtp), connections).await?;
    let patience = Duration::from_secs(900);
    let load = async |name: &str, count: usize| {
        api.load_list(&format!("{name} {}", Uuid::now_v7()), contacts::csv(100, count, contacts::EVEN), patience).await
    };
    let (list, some) = (load("Everybody", recipients).await?, load("Warm-up", options.warm_up.max(1)).await?);
    let shot = |list, recipients: usize| Shot {
        api: &api,
        sink: &sink,
        place,
        list,
        recipients: recipients as u64,
        route,
        workers: workers.clone(),
        html: &html,
    };
    shot(some, options.warm_up.max(1)).take("Warm-up").await?;
    let octets = signed_with(&sink, &options.keys).await?;

    head(&["run", "accepted", "octets", "seconds", "accepted/s", "other", "twice"]);
    let mut runs = Vec::new();
    for number in 1..=options.runs {
        let run = shot(list, recipients).take(&format!("Run {number}")).await?;
        row([
            number.to_string(),
            grouped(run.accepted),
            grouped(octets as u64),
            format!("{:.2}", run.seconds),
            format!("{:.0}", run.per_second),
            grouped(run.not_accepted),
            run.duplicates.to_string(),
        ]);
        runs.push(run);
    }
    let named = options.keys.clone();
    let bare_per_second = tokio::task::spawn_blocking(move || signing::bound(&named)).await??;
    let figures = Figures {
        bare_per_second,
        keys: options.keys.clone(),
        octets,
        recipients,
        median_per_second: median(runs.iter().map(|run| run.per_second)),
        runs,
    };
    println!("\nMedian: {:.0} accepted/s, signed with {keys}.", figures.median_per_second);
    println!(
        "With these keys all cores of this machine sign {bare_per_second:.0} times a second where they do nothing else: sending reaches {:.0} % of that.",
        100.0 * figures.median_per_second / bare_per_second
    );
    conditions.write(place.json.as_ref(), &figures)
}

/// Octets of the last mail, if it is signed with these and no others.
async fn signed_with(sink: &Sink, keys: &[String]) -> Result<usize> {
    let Some(mail) = sink.last_messages(1).await?.pop() else { bail!("the sink has no mail") };
    let mut found: Vec<&str> =
        mail.split("DKIM-Signature: ").skip(1).filter_map(|signature| signature.split("a=").nth(1)?.split(';').next()).collect();
    let mut wanted: Vec<&str> = keys.iter().map(String::as_str).collect();
    found.sort_unstable();
    wanted.sort_unstable();
    if found != wanted {
        bail!("mails are signed with {found:?}, not with {wanted:?}");
    }
    Ok(mail.len())
}

/// The sample mail with more rows, until it is of about this length: mostly markup, as in mails that are long.
fn long(octets: usize) -> String {
    let (head, tail) = template::HTML.split_once("<p>You have come by").unwrap_or((template::HTML, ""));
    let mut html = String::with_capacity(octets + ROW);
    html.push_str(head);
    html.push_str("<table role=\"presentation\" width=\"100%\" cellpadding=\"8\">\n");
    let rows = octets.saturating_sub(template::HTML.len()) / ROW;
    for number in 0..rows {
        html.push_str(&format!(
            "<tr><td style=\"border-top:1px solid #ddd6c8;padding:8px 36px;font-size:15px;line-height:1.6;color:#2d2a26\">Crate {number:05}</td>\n\
             <td align=\"right\" style=\"border-top:1px solid #ddd6c8;font-family:Georgia,serif\">3.20</td></tr>\n"
        ));
    }
    html.push_str("</table>\n<p>You have come by");
    html.push_str(tail);
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_mail_is_about_as_long_as_was_asked_for() {
        let html = long(100_000);
        assert!((90_000..110_000).contains(&html.len()), "{}", html.len());
        assert!(html.ends_with(template::HTML.rsplit_once("</body>").expect("an end").1));
    }
}
