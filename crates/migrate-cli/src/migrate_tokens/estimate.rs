//! `estimate`: rows, calls, time and money of a migration, and the monthly cost after it, part by part.

use kms_provider::KeyUri;
use serde::Serialize;
use token_store::status::{Workload, workload};

use super::{Options, connect};
use crate::exit::{CliError, Exit};
use crate::output::emit;
use tokenseal::Settings;
use tokenseal::database::Access;
use tokenseal::key_service::Load;

/// Rows per second that the database takes in batches, seen with PostgreSQL and SQLite on small machines.
const ROWS_PER_SECOND: f64 = 50_000.0;
/// How often a process with the default cache reads each of its secrets in a month: every five minutes for 30 days.
const READS_OF_A_SECRET: u64 = 30 * 24 * 12;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Calls per second that the key service answers: the account's quota, or what you leave to others
    #[arg(long, value_name = "N", default_value_t = 500.0)]
    calls_per_second: f64,
    /// Price of 10,000 requests, in USD [default: 0.03, that of AWS KMS; 0 on OpenBao and Vault]
    #[arg(long, value_name = "USD")]
    request_price: Option<f64>,
    /// Price of a key for a month, in USD [default: 1, that of AWS KMS; 0 on OpenBao and Vault]
    #[arg(long, value_name = "USD")]
    key_price: Option<f64>,
    /// Token reads in a month
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    reads_per_month: u64,
    /// Token writes in a month
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    writes_per_month: u64,
    /// Share of reads that a service answers from its cache of data keys
    #[arg(long, value_name = "0..1", default_value_t = 0.9)]
    cache_hit_rate: f64,
    /// Secrets in AWS Secrets Manager, all under the one key; with this, DATABASE_URL may be left out
    #[arg(long, value_name = "N", default_value_t = 0)]
    secrets: u64,
    /// Price of a secret for a month, in USD
    #[arg(long, value_name = "USD", default_value_t = 0.40)]
    secret_price: f64,
    /// Price of 10,000 calls of Secrets Manager, in USD
    #[arg(long, value_name = "USD", default_value_t = 0.05)]
    secret_request_price: f64,
    /// Reads of secrets in a month [default: 8,640 for each, as by one process that keeps values for five minutes]
    #[arg(long, value_name = "N")]
    secret_reads_per_month: Option<u64>,
}

#[derive(Serialize)]
struct Report {
    rows: u64,
    pending: u64,
    kms_calls: u64,
    seconds: f64,
    migration_usd: f64,
    secrets: u64,
    monthly_usd: f64,
    parts: Vec<Part>,
}

/// A part of the monthly cost.
#[derive(Serialize)]
struct Part {
    part: &'static str,
    quantity: u64,
    /// Of one, in USD.
    unit_usd: f64,
    monthly_usd: f64,
}

impl Part {
    fn new(part: &'static str, quantity: u64, unit_usd: f64) -> Self {
        Self { part, quantity, unit_usd, monthly_usd: quantity as f64 * unit_usd }
    }
}

pub(super) async fn run(args: Args, settings: Settings, options: Options) -> Result<Exit, CliError> {
    args.check()?;
    // Servers of one's own have a price that does not depend on calls or keys.
    let (request_price, key_price) = match settings.key {
        Some(KeyUri::Vault(_)) => (0.0, 0.0),
        _ => (0.03, 1.0),
    };
    let request_price = args.request_price.unwrap_or(request_price) / 10_000.0;
    let key_price = args.key_price.unwrap_or(key_price);
    let work = match (args.secrets, &settings.database_url) {
        (1.., None) => Workload::default(),
        _ => workload(connect(settings, Access::ReadOnly, Load::Few, &options).await?.store()).await?,
    };
    let kms_calls = work.seal_calls + work.open_calls;
    let parts = args.parts(key_price, request_price);
    let report = Report {
        rows: work.rows,
        pending: work.pending,
        kms_calls,
        seconds: (kms_calls as f64 / args.calls_per_second).max(work.rows as f64 / ROWS_PER_SECOND),
        migration_usd: kms_calls as f64 * request_price,
        secrets: args.secrets,
        monthly_usd: parts.iter().map(|part| part.monthly_usd).sum(),
        parts,
    };
    emit(options.format, &report, |report| args.lines(report))?;
    Ok(Exit::Done)
}

impl Args {
    fn parts(&self, key_price: f64, request_price: f64) -> Vec<Part> {
        let missed = (self.reads_per_month as f64 * (1.0 - self.cache_hit_rate)).round() as u64;
        let mut parts = vec![
            Part::new("key", 1, key_price),
            Part::new("key service calls for tokens", missed + self.writes_per_month, request_price),
        ];
        if self.secrets > 0 {
            let reads = self.secret_reads_per_month.unwrap_or(self.secrets.saturating_mul(READS_OF_A_SECRET));
            parts.push(Part::new("secrets", self.secrets, self.secret_price));
            parts.push(Part::new("secret reads", reads, self.secret_request_price / 10_000.0));
            // Secrets Manager unwraps the data key of the secret at every read.
            parts.push(Part::new("key service calls for secrets", reads, request_price));
        }
        parts
    }

    fn lines(&self, report: &Report) -> String {
        let migration = format!(
            "{} rows, {} to move: {} key service calls, about {:.0} s at {} calls per second, {:.2} USD",
            report.rows,
            report.pending,
            report.kms_calls,
            report.seconds,
            self.calls_per_second,
            report.migration_usd
        );
        let afterwards = format!(
            "afterwards {:.2} USD a month for {} reads ({:.0} % from cache), {} writes and {} secrets:",
            report.monthly_usd,
            self.reads_per_month,
            self.cache_hit_rate * 100.0,
            self.writes_per_month,
            report.secrets
        );
        let part = |part: &Part| format!("{:>10.2} USD  {} {}", part.monthly_usd, part.quantity, part.part);
        let parts = report.parts.iter().map(part);
        [migration, afterwards].into_iter().chain(parts).collect::<Vec<_>>().join("\n")
    }

    fn check(&self) -> Result<(), CliError> {
        let given = [self.request_price, self.key_price].into_iter().flatten();
        let mut prices = given.chain([self.secret_price, self.secret_request_price]);
        if !(self.calls_per_second.is_finite() && self.calls_per_second > 0.0) {
            return Err(CliError::usage("--calls-per-second must be greater than 0"));
        }
        if !(0.0..=1.0).contains(&self.cache_hit_rate) {
            return Err(CliError::usage("--cache-hit-rate must be between 0 and 1"));
        }
        if prices.any(|price| !price.is_finite() || price < 0.0) {
            return Err(CliError::usage("prices must be non-negative numbers"));
        }
        Ok(())
    }
}
