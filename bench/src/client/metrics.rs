//! Single figures of a Prometheus page.

use std::time::Duration;

/// The sum of the samples of `name` (any prefix, any labels) on a page; none if it has no such metric.
#[must_use]
pub fn sum_of(page: &str, name: &str) -> Option<f64> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let metric = series.split('{').next()?;
            metric.ends_with(name).then(|| value.parse::<f64>().ok())?
        })
        .reduce(|sum, value| sum + value)
}

/// The SMTP connections that a worker has open, asked from `http://host:port/metrics`; none if it cannot say.
pub async fn open_connections(url: &str) -> Option<u64> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(1)).no_proxy().build().ok()?;
    let page = http.get(url).send().await.ok()?.text().await.ok()?;
    let sum = sum_of(&page, "smtp_connections_open")?;
    format!("{:.0}", sum.max(0.0)).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_of_a_metric_are_added_up() {
        let page = "# TYPE smtp_connections_open gauge\nsmtp_connections_open{route=\"a\"} 3\nsmtp_connections_open{route=\"b\"} 4\n\
                    smtp_connections_total 9\n";
        assert_eq!(sum_of(page, "smtp_connections_open"), Some(7.0));
        assert_eq!(sum_of(page, "absent"), None);
    }
}
