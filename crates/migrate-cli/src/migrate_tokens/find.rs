//! `find`: the rows that hold a value, by the blind index over its column.

use serde::Serialize;
use token_store::TokenRow;
use token_store::profile::Table;

use super::token::read_token;
use super::{Options, connect};
use crate::exit::{CliError, Exit, chain};
use crate::output::{emit, note, printable};
use tokenseal::Settings;
use tokenseal::database::Access;
use tokenseal::key_service::Load;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The token column that the value is looked for in; it has a blind index in the profile
    #[arg(long, value_name = "C")]
    column: String,
    /// The table; the first of the profile with a blind index over the column if left out
    #[arg(long, value_name = "T")]
    table: Option<String>,
}

#[derive(Serialize)]
struct Report {
    table: String,
    column: String,
    /// The rows by their keys, as `column=value,…`.
    rows: Vec<String>,
    /// Rows with this index whose value does not open.
    unopened: Vec<Unopened>,
}

#[derive(Serialize)]
struct Unopened {
    row: String,
    class: &'static str,
    error: String,
}

/// The value is on standard input, and never in the output. Nothing found is exit code 3.
pub(super) async fn run(args: Args, settings: Settings, options: Options) -> Result<Exit, CliError> {
    let table = table(&args, &settings)?.name.clone();
    let value = read_token(false).await?;
    let services = connect(settings, Access::ReadOnly, Load::Few, &options).await?;
    let found = services.store().find(Some(&table), &args.column, &value).await?;
    let report = report(table, args.column, &found);
    emit(options.format, &report, |report| {
        report.rows.iter().map(|row| printable(row)).collect::<Vec<_>>().join("\n")
    })?;
    if report.rows.is_empty() && report.unopened.is_empty() {
        note("no row has this value");
    }
    for Unopened { row, error, .. } in &report.unopened {
        note(&format!("{} has this index, and does not open: {error}", printable(row)));
    }
    Ok(if report.rows.is_empty() || !report.unopened.is_empty() { Exit::Partial } else { Exit::Done })
}

fn report(table: String, column: String, found: &[TokenRow]) -> Report {
    let (mut rows, mut unopened) = (Vec::new(), Vec::new());
    for row in found {
        match row.token(&column) {
            Ok(_) => rows.push(row.name().to_owned()),
            Err(error) => {
                unopened.push(Unopened {
                    row: row.name().to_owned(),
                    class: error.class(),
                    error: chain(error),
                });
            }
        }
    }
    Report { table, column, rows, unopened }
}

/// The table that is searched: it must have a blind index over the column.
fn table<'a>(args: &Args, settings: &'a Settings) -> Result<&'a Table, CliError> {
    let has_index = |table: &&Table| table.index.iter().any(|index| index.column == args.column);
    let named = |table: &&Table| args.table.as_ref().is_none_or(|name| *name == table.name);
    let tables = &settings.profile.tables;
    if let Some(table) = tables.iter().filter(named).find(has_index) {
        return Ok(table);
    }
    let known: Vec<String> = tables
        .iter()
        .flat_map(|table| table.index.iter().map(|index| format!("{}.{}", table.name, index.column)))
        .collect();
    let hint = match known.as_slice() {
        [] => "add [[tables.index]] to the profile, and run `migrate-tokens schema` and `migrate`: see docs/pii.md".into(),
        known => format!("one of {}", known.join(", ")),
    };
    let problem = format!("the profile has no blind index over {:?}", args.column);
    Err(CliError::usage_with_hint(problem, hint))
}
