//! `gate`: decides from metrics whether a rollout continues. Without data, it never does.

mod baseline;
mod http;
mod prometheus;
mod samples;
mod series;

use std::path::PathBuf;
use std::time::Duration;

use envelope_core::duration;
use serde::Serialize;
use tokenseal::Settings;
use url::Url;

use self::baseline::Baseline;
pub(super) use self::samples::Samples;
use self::series::Counts;
use super::Options;
use crate::exit::{CliError, Exit, chain};
use crate::output::{emit, note};

const EXAMPLES: &str = "\
Examples:
  migrate-tokens gate --prometheus http://prometheus:9090 --match 'version=\"canary\"'
  migrate-tokens gate --metrics http://canary:9464/metrics --baseline latency.json

With --metrics, counts are since the start of the process, or over --window if it is given: then the gate waits that long.
A service without refreshes or secrets of its own has no data about them: leave the check out with --skip.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[group(id = "source", required = true, args = ["prometheus", "metrics"])]
pub(super) struct Args {
    /// A Prometheus server that is asked for the metrics of the profile
    #[arg(long, value_name = "URL", conflicts_with = "metrics")]
    prometheus: Option<Url>,
    /// The /metrics of one process
    #[arg(long, value_name = "URL")]
    metrics: Option<Url>,
    /// A label matcher for every query to Prometheus, such as job="vod-tender"; may be given several times
    #[arg(long = "match", value_name = "MATCHER", conflicts_with = "metrics")]
    matchers: Vec<String>,
    /// Values that do not open, of all that were read, at most
    #[arg(long, value_name = "0..1", default_value_t = 0.05, value_parser = share)]
    max_error_rate: f64,
    /// Refreshes that succeed, of all, at least
    #[arg(long, value_name = "0..1", default_value_t = 0.95, value_parser = share)]
    min_refresh_success: f64,
    /// Requests for secrets that fail, of all, at most
    #[arg(long, value_name = "0..1", default_value_t = 0.05, value_parser = share)]
    max_secret_failures: f64,
    /// Rise of the mean time to open a data key above its baseline, at most: 0.2 is a fifth
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = rise)]
    max_latency_increase: f64,
    /// How far back counts go [default: 5m with --prometheus]
    #[arg(long, value_name = "DURATION", value_parser = window)]
    window: Option<Duration>,
    /// The latency of before the rollout; written if the file does not exist. Without it, Prometheus is asked for the day before
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// A check to leave out; may be given several times
    #[arg(long, value_enum, value_name = "CHECK")]
    skip: Vec<Name>,
}

/// The checks of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
enum Name {
    ErrorRate,
    RefreshSuccess,
    SecretFailures,
    LatencyIncrease,
}

#[derive(Debug, Serialize)]
struct Check {
    name: Name,
    /// None where there is no data.
    value: Option<f64>,
    limit: f64,
    ok: bool,
}

#[derive(Serialize)]
struct Report {
    go: bool,
    checks: Vec<Check>,
    skipped: Vec<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

pub(super) async fn run(args: Args, settings: Settings, options: Options) -> Result<Exit, CliError> {
    let prefix = settings.profile.metrics_prefix.clone();
    let read = match (&args.prometheus, &args.metrics) {
        (Some(url), _) => prometheus::read(url, &args, &prefix).await,
        (None, Some(url)) => samples::read(url, args.window, &prefix).await,
        (None, None) => return Err(CliError::usage("--prometheus or --metrics is needed")),
    };
    let (counts, problem) = match read {
        Ok(counts) => (counts, None),
        Err(error) => (Counts::default(), Some(chain(&error))),
    };
    let before = match &args.baseline {
        None => counts.latency_before,
        Some(file) => Baseline::read_or_write(file, counts.latency)?,
    };
    let report = decide(&args, &counts, before, problem);
    report.problem.iter().for_each(|problem| note(&format!("error: {problem}")));
    emit(options.format, &report, lines)?;
    Ok(if report.go { Exit::Done } else { Exit::Problems })
}

fn decide(args: &Args, counts: &Counts, before: Option<f64>, problem: Option<String>) -> Report {
    let increase = counts.latency.zip(before).map(|(now, before)| now / before - 1.0);
    let at_most = |value: Option<f64>, limit: f64| value.is_some_and(|value| value <= limit);
    let at_least = |value: Option<f64>, limit: f64| value.is_some_and(|value| value >= limit);
    let (errors, refreshes, secrets) =
        (counts.error_rate(), counts.refresh_success(), counts.secret_failures());
    let all = [
        (Name::ErrorRate, errors, args.max_error_rate, at_most(errors, args.max_error_rate)),
        (
            Name::RefreshSuccess,
            refreshes,
            args.min_refresh_success,
            at_least(refreshes, args.min_refresh_success),
        ),
        (Name::SecretFailures, secrets, args.max_secret_failures, at_most(secrets, args.max_secret_failures)),
        (
            Name::LatencyIncrease,
            increase,
            args.max_latency_increase,
            at_most(increase, args.max_latency_increase),
        ),
    ];
    let checks: Vec<Check> = all
        .into_iter()
        .filter(|(name, ..)| !args.skip.contains(name))
        .map(|(name, value, limit, ok)| Check { name, value, limit, ok })
        .collect();
    // If every check is skipped, there is no data.
    let go = problem.is_none() && !checks.is_empty() && checks.iter().all(|check| check.ok);
    Report { go, checks, skipped: args.skip.clone(), problem }
}

fn lines(report: &Report) -> String {
    let line = |check: &Check| {
        let name = match check.name {
            Name::ErrorRate => "values that do not open",
            Name::RefreshSuccess => "refreshes that succeed",
            Name::SecretFailures => "secret requests that fail",
            Name::LatencyIncrease => "rise of the time to open",
        };
        let value = check.value.map_or("no data".into(), |value| format!("{:.2} %", value * 100.0));
        let mark = if check.ok { "ok  " } else { "FAIL" };
        format!("{mark}  {name}: {value} (limit {:.2} %)", check.limit * 100.0)
    };
    let mut lines: Vec<String> = report.checks.iter().map(line).collect();
    lines.push(if report.go { "go".into() } else { "no-go".into() });
    lines.join("\n")
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "must be a number from 0 to 1".into())
}

fn rise(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "must be a non-negative number".into())
}

fn window(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text).filter(|duration| duration.as_secs() > 0);
    duration.ok_or_else(|| "must be a duration such as 30s, 5m or 1h".into())
}
