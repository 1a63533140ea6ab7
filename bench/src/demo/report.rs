//! What the demo says at the end.

use super::{
    journey::{Journey, float},
    screen::{bar, duration, grouped},
};
use crate::client::{answers::Progress, sink::Stats};

/// The block that is redrawn while the campaign runs.
#[must_use]
pub fn block(progress: &Progress, journey: &Journey) -> Vec<String> {
    let Some(audience) = progress.audience else {
        return vec![
            format!("  {}  counting the audience", bar(0.0)),
            format!("  accepted {} so far", grouped(progress.accepted)),
            String::new(),
            String::new(),
        ];
    };
    let share = if audience == 0 { 1.0 } else { float(progress.settled()) / float(audience) };
    let left = journey.seconds_left(audience).map_or_else(|| "-".to_owned(), duration);
    let counts = progress.counts().map(|(name, count)| format!("{name} {}", grouped(count)));
    vec![
        format!("  {}  {:>5.1} %", bar(share), share * 100.0),
        format!("  {} of {}   {:>6}/s   ETA {left}", grouped(progress.settled()), grouped(audience), whole(journey.rate())),
        format!("  {}", counts[..5].join("   ")),
        format!("  {}", counts[5..].join("   ")),
    ]
}

/// The same as one line.
#[must_use]
pub fn line(progress: &Progress, journey: &Journey) -> String {
    let audience = progress.audience.map_or_else(|| "?".to_owned(), grouped);
    let counts: Vec<_> = progress
        .counts()
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {}", grouped(*count)))
        .collect();
    format!(
        "  {:>5.1} s  {:>9} of {audience}  {:>7}/s  {}",
        journey.elapsed().as_secs_f64(),
        grouped(progress.settled()),
        whole(journey.rate()),
        counts.join(", ")
    )
}

/// The balance, the rates, the slowest destinations and the sink's own count.
#[must_use]
pub fn summary(progress: &Progress, journey: &Journey, sink: Option<&Stats>) -> String {
    let audience = progress.audience.unwrap_or(0);
    let mut out =
        format!("\nThe campaign is {} after {}.\n\n  Balance\n", progress.state, duration(journey.elapsed().as_secs_f64()));
    for (name, count) in progress.counts() {
        out.push_str(&format!("    {name:<12} {:>12}\n", grouped(count)));
    }
    let verdict = if progress.sum() == audience { "✓ equals the audience" } else { "✗ differs from the audience" };
    out.push_str(&format!("    {:<12} {:>12}   {verdict} of {}\n", "sum", grouped(progress.sum()), grouped(audience)));
    out.push_str(&format!(
        "\n  Rate           {}/s on average, {}/s at its peak\n",
        whole(journey.average()),
        whole(journey.peak())
    ));
    let slowest = journey.slowest(6);
    if !slowest.is_empty() {
        out.push_str("\n  Slowest destinations    last outcome   accepted    bounced     failed\n");
        for (domain, seconds) in slowest {
            let row = progress.destinations.iter().find(|row| row.domain == domain).cloned().unwrap_or_default();
            out.push_str(&format!(
                "    {domain:<22} {seconds:>9.1} s {:>10} {:>10} {:>10}\n",
                grouped(row.accepted),
                grouped(row.bounced),
                grouped(row.failed)
            ));
        }
    }
    if let Some(stats) = sink {
        let mark = if stats.duplicates == 0 { "✓" } else { "✗" };
        out.push_str(&format!(
            "\n  The sink counted {} messages, {} received twice {mark}\n",
            grouped(stats.received),
            grouped(stats.duplicates)
        ));
    }
    out
}

fn whole(rate: f64) -> String {
    format!("{rate:.0}").parse().map_or_else(|_| format!("{rate:.0}"), grouped)
}
