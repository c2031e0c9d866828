//! The metrics of a profile, as a Prometheus server has them.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::Args;
use super::http::{self, FetchError};
use super::series::{Counts, Series, Sum, mean};

/// How far back counts go unless the caller says so.
const WINDOW: Duration = Duration::from_secs(300);
/// How far back the query for the earlier latency goes.
const BEFORE: &str = "1d";

/// The answer of `/api/v1/query`, as far as it matters.
#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    value: (f64, String),
}

pub(super) async fn read(url: &Url, args: &Args, prefix: &str) -> Result<Counts, FetchError> {
    let window = args.window.unwrap_or(WINDOW);
    let mut sums = HashMap::new();
    for sum in Sum::ALL {
        let range = format!("{}s", window.as_secs());
        let query = query(&sum.series(prefix), &args.matchers, &range, "");
        sums.insert(sum, ask(url, &query).await?);
    }
    let mut counts = Counts::of(|sum| sums.get(&sum).copied().flatten());
    if args.baseline.is_none() {
        let offset = format!(" offset {}s", window.as_secs());
        let of = |sum: Sum| query(&sum.series(prefix), &args.matchers, BEFORE, &offset);
        let (seconds, opened) = (ask(url, &of(Sum::Seconds)).await?, ask(url, &of(Sum::Opened)).await?);
        counts.latency_before = mean(seconds, opened);
    }
    Ok(counts)
}

fn query(series: &Series, matchers: &[String], range: &str, offset: &str) -> String {
    let only = series.only.map(|(label, values)| format!("{label}=~\"{}\"", values.join("|")));
    let all: Vec<&str> = only.as_deref().into_iter().chain(matchers.iter().map(String::as_str)).collect();
    format!("sum(increase({}{{{}}}[{range}]{offset}))", series.metric, all.join(","))
}

/// The value of a query; `None` where it has no result.
async fn ask(url: &Url, query: &str) -> Result<Option<f64>, FetchError> {
    let mut url = url.clone();
    let has_path = url.path_segments_mut().map(|mut path| {
        path.pop_if_empty().extend(["api", "v1", "query"]);
    });
    has_path.map_err(|()| FetchError::Url)?;
    url.query_pairs_mut().append_pair("query", query);
    let text = http::get(&url).await?;
    // The parser's message may repeat the answer.
    let answer: Answer = serde_json::from_str(&text).map_err(|_| FetchError::Answer)?;
    Ok(answer.data.result.first().and_then(|vector| vector.value.1.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_sums_the_increase_of_the_series_that_match() {
        let query = query(&Sum::Calls.series("vod"), &["job=\"a\"".into()], "300s", " offset 300s");
        let expected = "sum(increase(vod_kms_requests_total{operation=~\"unwrap|decrypt\",job=\"a\"}[300s] offset 300s))";
        assert_eq!(query, expected);
    }
}
