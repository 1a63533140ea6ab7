//! Single figures of a Prometheus page.

use std::{collections::BTreeMap, time::Duration};

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

/// The samples of `name` on a page by the value of `label`, summed over all other labels.
#[must_use]
pub fn by_label(page: &str, name: &str, label: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    let key = format!("{label}=\"");
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let Some((metric, labels)) = series.split_once('{') else { continue };
        let (Some((_, rest)), Ok(value)) = (labels.split_once(&key), value.parse::<f64>()) else { continue };
        if metric.ends_with(name)
            && let Some((word, _)) = rest.split_once('"')
        {
            *sums.entry(word.to_owned()).or_default() += value;
        }
    }
    sums
}

/// A metrics page, asked from `http://host:port/metrics`; empty if there is none.
pub async fn page(url: &str) -> String {
    let Ok(http) = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build() else { return String::new() };
    match http.get(url).send().await {
        Ok(response) => response.text().await.unwrap_or_default(),
        Err(_) => String::new(),
    }
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
        assert_eq!(by_label(page, "connections_open", "route"), BTreeMap::from([("a".to_owned(), 3.0), ("b".to_owned(), 4.0)]));
    }
}
