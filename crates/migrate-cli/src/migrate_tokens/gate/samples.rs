//! The metrics of one process, in the text formats of Prometheus and OpenMetrics.

use std::time::Duration;

use url::Url;

use super::http::{self, FetchError};
use super::series::{Counts, Series};

/// Samples as they were scraped.
#[derive(Debug, Default)]
pub(in crate::migrate_tokens) struct Samples(Vec<Sample>);

#[derive(Debug, PartialEq)]
struct Sample {
    metric: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// Scrapes once, or twice with a pause between.
pub(super) async fn read(url: &Url, window: Option<Duration>, prefix: &str) -> Result<Counts, FetchError> {
    let first = scrape(url).await?;
    let Some(window) = window else { return Ok(Counts::of(|sum| first.sum(&sum.series(prefix)))) };
    tokio::time::sleep(window).await;
    let second = scrape(url).await?;
    Ok(Counts::of(|sum| {
        let series = sum.series(prefix);
        let (before, now) = first.sum(&series).zip(second.sum(&series))?;
        // A counter that fell began again.
        Some(if now < before { now } else { now - before })
    }))
}

async fn scrape(url: &Url) -> Result<Samples, FetchError> {
    let text = http::get(url).await?;
    Ok(Samples::parse(&text))
}

impl Samples {
    /// Reads every line that is a sample; skips others.
    pub(in crate::migrate_tokens) fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(sample).collect())
    }

    /// The sum of a metric's samples; `None` where there are none.
    pub(in crate::migrate_tokens) fn total(&self, metric: &str) -> Option<f64> {
        self.sum(&Series { metric: metric.into(), only: None })
    }

    fn sum(&self, series: &Series) -> Option<f64> {
        let counts = |sample: &&Sample| {
            sample.metric == series.metric
                && series.only.is_none_or(|(label, values)| {
                    sample
                        .labels
                        .iter()
                        .any(|(name, value)| name == label && values.contains(&value.as_str()))
                })
        };
        let found: Vec<f64> = self.0.iter().filter(counts).map(|sample| sample.value).collect();
        (!found.is_empty()).then(|| found.iter().sum())
    }
}

/// `metric{label="value",…} value`, and a time perhaps.
fn sample(line: &str) -> Option<Sample> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (metric, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { metric: metric.into(), labels, value })
}

/// The labels, and the text after their brace.
fn labels(mut text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        text = text.trim_start_matches([',', ' ']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next()? {
                (end, '"') => break end + 1,
                (_, '\\') => value.push(match characters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.push((name.trim().into(), value));
        text = &rest[end..];
    }
}

#[cfg(test)]
mod tests {
    use super::super::series::Sum;
    use super::*;

    const TEXT: &str = "# HELP vod_kms_requests Calls.\n# TYPE vod_kms_requests counter\n\
        vod_kms_requests_total{operation=\"unwrap\"} 30\nvod_kms_requests_total{operation=\"generate\"} 5 1700000000\n\
        vod_kms_requests_total{x=\"a\\\"}, b\",operation=\"decrypt\"} 2.5\nvod_kms_cache_hits_total 70\n\nbroken{ 1\n# EOF\n";

    #[test]
    fn samples_are_summed_by_their_labels() {
        let samples = Samples::parse(TEXT);
        assert_eq!(samples.sum(&Sum::Calls.series("vod")), Some(32.5));
        assert_eq!(samples.sum(&Sum::Hits.series("vod")), Some(70.0));
        assert_eq!(samples.sum(&Sum::Failed.series("vod")), None);
        assert_eq!(samples.total("vod_kms_requests_total"), Some(37.5));
    }
}
