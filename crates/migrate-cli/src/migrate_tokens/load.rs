//! `load`: many readers at once, for staging.

use std::sync::Arc;
use std::time::{Duration, Instant};

use envelope_core::duration;
use rand::seq::IndexedRandom as _;
use serde::Serialize;
use token_store::{TokenKey, TokenStore};

use super::gate::Samples;
use super::{Options, connect};
use crate::exit::{CliError, Exit};
use crate::output::emit;
use crate::startup::stop_on_signals;
use tokenseal::Settings;
use tokenseal::database::Access;
use tokenseal::key_service;

/// Most rows of each table that readers choose from.
const ROWS: usize = 10_000;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Readers at once
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    readers: u32,
    /// How long they read
    #[arg(long = "for", value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    how_long: Duration,
}

#[derive(Serialize)]
struct Report {
    readers: u32,
    seconds: f64,
    reads: u64,
    errors: u64,
    reads_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// None before the cache was asked once.
    hit_rate: Option<f64>,
}

pub(super) async fn run(args: Args, settings: Settings, options: Options) -> Result<Exit, CliError> {
    let prefix = settings.profile.metrics_prefix.clone();
    let services = connect(settings, Access::ReadOnly, key_service::Load::Service, &options).await?;
    services.check_key().await?;
    let store = services.store();
    let keys = Arc::new(keys(store).await?);
    if keys.is_empty() {
        return Err(CliError::usage_with_hint(
            "there is no row to read",
            "fill the tables of the profile first, or name another one in TOKEN_PROFILE",
        ));
    }
    let (start, stop) = (Instant::now(), stop_on_signals());
    let until = start + args.how_long;
    let readers: Vec<_> = (0..args.readers)
        .map(|_| {
            let (store, keys, stop) = (store.clone(), keys.clone(), stop.clone());
            tokio::spawn(async move {
                let mut seen = Seen::default();
                while Instant::now() < until && !stop.is_set() {
                    seen.read(&store, &keys).await;
                }
                seen
            })
        })
        .collect();
    let mut seen = Seen::default();
    for reader in readers {
        // A reader that panicked has read nothing, and failed.
        seen.add(reader.await.unwrap_or(Seen { errors: 1, ..Seen::default() }));
    }
    let report = seen.report(args.readers, start.elapsed(), hit_rate(&options, &prefix));
    emit(options.format, &report, lines)?;
    Ok(match () {
        () if stop.is_set() => Exit::Interrupted,
        () if report.errors > 0 => Exit::Partial,
        () => Exit::Done,
    })
}

async fn keys(store: &TokenStore) -> Result<Vec<TokenKey>, CliError> {
    let mut keys = Vec::new();
    for table in &store.profile().tables {
        if store.absent_tables().contains(&table.name) {
            continue;
        }
        let rows = store.list(Some(&table.name), None, ROWS).await?;
        keys.extend(rows.into_iter().map(|row| TokenKey::from_values(row.key).in_table(&table.name)));
    }
    Ok(keys)
}

/// The results of one reader, or of all.
#[derive(Default)]
struct Seen {
    errors: u64,
    /// How long each read took, in microseconds.
    micros: Vec<u32>,
}

impl Seen {
    async fn read(&mut self, store: &TokenStore, keys: &[TokenKey]) {
        let Some(key) = keys.choose(&mut rand::rng()).cloned() else { return };
        let start = Instant::now();
        let outcome = store.get(&key).await;
        self.micros.push(u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX));
        self.errors += u64::from(outcome.is_err());
    }

    fn add(&mut self, other: Self) {
        self.errors += other.errors;
        self.micros.extend(other.micros);
    }

    fn report(mut self, readers: u32, took: Duration, hit_rate: Option<f64>) -> Report {
        self.micros.sort_unstable();
        let reads = self.micros.len() as u64;
        let seconds = took.as_secs_f64();
        Report {
            readers,
            seconds,
            reads,
            errors: self.errors,
            reads_per_second: reads as f64 / seconds,
            p50_ms: self.quantile(50),
            p99_ms: self.quantile(99),
            hit_rate,
        }
    }

    /// The time within which this percentage of the sorted reads ended, in milliseconds.
    fn quantile(&self, percent: usize) -> f64 {
        let index = (self.micros.len() * percent).div_ceil(100).saturating_sub(1);
        self.micros.get(index).map_or(0.0, |micros| f64::from(*micros) / 1_000.0)
    }
}

/// The share of reads of data keys that the cache answered.
fn hit_rate(options: &Options, prefix: &str) -> Option<f64> {
    let samples = Samples::parse(&options.telemetry.encode()?);
    let hits = samples.total(&format!("{prefix}_kms_cache_hits_total"))?;
    let misses = samples.total(&format!("{prefix}_kms_cache_misses_total"))?;
    (hits + misses > 0.0).then(|| hits / (hits + misses))
}

fn lines(report: &Report) -> String {
    let hit_rate = report.hit_rate.map_or("no data".into(), |rate| format!("{:.1} %", rate * 100.0));
    format!(
        "{} readers for {:.1} s: {} reads ({:.0} per second), {} errors\np50 {:.2} ms, p99 {:.2} ms, hit rate {hit_rate}",
        report.readers,
        report.seconds,
        report.reads,
        report.reads_per_second,
        report.errors,
        report.p50_ms,
        report.p99_ms
    )
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text).filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| "must be a duration such as 30s, 5m or 1h".into())
}

#[cfg(test)]
mod tests {
    use super::Seen;

    #[test]
    fn a_quantile_is_the_time_within_which_that_share_of_the_reads_ended() {
        let seen = Seen { errors: 0, micros: (1..=200).map(|n| n * 1_000).collect() };
        assert!((seen.quantile(50) - 100.0).abs() < f64::EPSILON);
        assert!((seen.quantile(99) - 198.0).abs() < f64::EPSILON);
        assert!(Seen::default().quantile(99).abs() < f64::EPSILON);
    }
}
