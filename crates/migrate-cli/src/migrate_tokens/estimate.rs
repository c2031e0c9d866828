//! `estimate`: rows, calls, time and money of a migration, and the monthly cost after it.

use kms_provider::KeyUri;
use serde::Serialize;
use token_store::status::workload;

use super::{Options, connect};
use crate::exit::{CliError, Exit};
use crate::output::emit;
use tokenseal::Settings;
use tokenseal::database::Access;
use tokenseal::key_service::Load;

/// Rows a second that the database takes in batches, seen with PostgreSQL and SQLite on small machines.
const ROWS_PER_SECOND: f64 = 50_000.0;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Calls a second that the key service answers: the account's quota, or what you leave to others
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
}

#[derive(Serialize)]
struct Report {
    rows: u64,
    pending: u64,
    kms_calls: u64,
    seconds: f64,
    migration_usd: f64,
    monthly_usd: f64,
}

pub(super) async fn run(args: Args, settings: Settings, options: Options) -> Result<Exit, CliError> {
    args.check()?;
    // Servers of one's own have a price that does not depend on calls or keys.
    let (request_price, key_price) = match settings.key {
        Some(KeyUri::Vault(_)) => (0.0, 0.0),
        _ => (0.03, 1.0),
    };
    let (request_price, key_price) =
        (args.request_price.unwrap_or(request_price), args.key_price.unwrap_or(key_price));
    let services = connect(settings, Access::ReadOnly, Load::Few, &options).await?;
    let work = workload(services.store()).await?;
    let kms_calls = work.seal_calls + work.open_calls;
    let monthly_calls =
        args.reads_per_month as f64 * (1.0 - args.cache_hit_rate) + args.writes_per_month as f64;
    let price = request_price / 10_000.0;
    let report = Report {
        rows: work.rows,
        pending: work.pending,
        kms_calls,
        seconds: (kms_calls as f64 / args.calls_per_second).max(work.rows as f64 / ROWS_PER_SECOND),
        migration_usd: kms_calls as f64 * price,
        monthly_usd: key_price + monthly_calls * price,
    };
    emit(options.format, &report, |report| {
        format!(
            "{} rows, {} to move: {} key service calls, about {:.0} s at {} calls a second, {:.2} USD\n\
             afterwards {:.2} USD a month for {} reads ({:.0} % from cache) and {} writes",
            report.rows,
            report.pending,
            report.kms_calls,
            report.seconds,
            args.calls_per_second,
            report.migration_usd,
            report.monthly_usd,
            args.reads_per_month,
            args.cache_hit_rate * 100.0,
            args.writes_per_month
        )
    })?;
    Ok(Exit::Done)
}

impl Args {
    fn check(&self) -> Result<(), CliError> {
        let mut prices = [self.request_price, self.key_price].into_iter().flatten();
        if !(self.calls_per_second.is_finite() && self.calls_per_second > 0.0) {
            return Err(CliError::usage("--calls-per-second is not above zero"));
        }
        if !(0.0..=1.0).contains(&self.cache_hit_rate) {
            return Err(CliError::usage("--cache-hit-rate is not between 0 and 1"));
        }
        if prices.any(|price| !price.is_finite() || price < 0.0) {
            return Err(CliError::usage("a price is negative or no number"));
        }
        Ok(())
    }
}
