//! The picture for a tired stranger: a line on the whole, a table of lanes, a table of destinations, what is wrong and what mends it.

use std::fmt::Write;

use super::stuck::{DestinationView, Finding, LaneView, Picture, RouteView};

/// Writes the picture down. Lanes without work, dead jobs or workers are left out.
#[must_use]
pub fn of(picture: &Picture) -> String {
    let mut text = format!(
        "{} UTC   workers {}   redis {}   sending {}\n",
        picture.at.format("%F %H:%M:%S"),
        picture.workers,
        if picture.redis.is_some() { "DOWN" } else { "ok" },
        match (picture.hold, picture.paused_at) {
            (None, _) => "on".to_owned(),
            (Some(super::sending::Hold::Restored), _) => "OFF: a copy, not confirmed".to_owned(),
            (Some(_), since) => format!("PAUSED since {}", since.map_or_else(String::new, |at| at.format("%F %H:%M").to_string())),
        },
    );
    let lanes: Vec<&LaneView> = picture.lanes.iter().filter(|lane| is_busy(lane)).collect();
    if !lanes.is_empty() {
        let head = ["lane", "ready", "oldest", "held", "paused", "slowed", "later", "running", "lost", "dead", "tickets"];
        table(&mut text, &head.map(str::to_owned), lanes.into_iter().map(lane_row).collect());
    }
    if !picture.routes.is_empty() {
        let head = ["route", "connections", "of"];
        table(&mut text, &head.map(str::to_owned), picture.routes.iter().map(route_row).collect());
    }
    if !picture.destinations.is_empty() {
        let head = ["destination", "chunks", "running", "deferred", "oldest", "last reply"];
        table(&mut text, &head.map(str::to_owned), picture.destinations.iter().map(destination_row).collect());
    }
    if picture.findings.is_empty() {
        text.push_str("\nnothing is stuck\n");
        return text;
    }
    text.push('\n');
    let width = picture.findings.iter().map(|finding| finding.subject.chars().count()).max().unwrap_or(0);
    for Finding { subject, says, mend } in &picture.findings {
        let _ = writeln!(text, "{subject:<width$}  {}\n{:width$}  -> {mend}", clipped(says, 160), "");
    }
    text
}

fn is_busy(lane: &LaneView) -> bool {
    lane.queued + lane.scheduled + lane.running + lane.dead + lane.slots > 0
}

fn lane_row(lane: &LaneView) -> Vec<String> {
    vec![
        lane.lane.clone(),
        lane.ready.to_string(),
        lane.oldest_seconds.map_or_else(|| "-".to_owned(), span),
        lane.held.to_string(),
        lane.paused.to_string(),
        lane.throttled.to_string(),
        lane.scheduled.to_string(),
        format!("{}/{}", lane.running, lane.slots),
        lane.expired.to_string(),
        lane.dead.to_string(),
        lane.tickets.map_or_else(|| "?".to_owned(), |tickets| tickets.to_string()),
    ]
}

fn route_row(route: &RouteView) -> Vec<String> {
    let taken = route.taken.map_or_else(|| "?".to_owned(), |taken| taken.to_string());
    vec![clipped(&route.name, 40), taken, route.max_connections.to_string()]
}

fn destination_row(destination: &DestinationView) -> Vec<String> {
    vec![
        destination.domain.clone(),
        destination.queued.to_string(),
        destination.running.to_string(),
        destination.deferred.to_string(),
        destination.oldest_seconds.map_or_else(|| "-".to_owned(), span),
        destination.last_reply.as_deref().map_or_else(|| "-".to_owned(), |reply| clipped(reply, 60)),
    ]
}

/// A table whose first and last columns are words, and the others figures.
fn table(text: &mut String, head: &[String], rows: Vec<Vec<String>>) {
    let widths: Vec<usize> = (0..head.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).chain([head[column].chars().count()]).max().unwrap_or(0))
        .collect();
    text.push('\n');
    for row in std::iter::once(head.to_vec()).chain(rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = if column == 0 { write!(line, "{cell:<width$}") } else { write!(line, "  {cell:>width$}") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn clipped(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= most { line } else { line.chars().take(most - 1).chain(['…']).collect() }
}

/// `45s`, `12m`, `3h`, `2d`.
fn span(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "an age in seconds")]
    let seconds = seconds.max(0.0) as i64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_at_a_glance() {
        assert_eq!([5.0, 60.0, 7_300.0, 200_000.0].map(span), ["5s", "1m", "2h", "2d"]);
        assert_eq!(clipped("a  b\nc", 10), "a b c");
        assert_eq!(clipped("abcdef", 4), "abc…");
    }
}
