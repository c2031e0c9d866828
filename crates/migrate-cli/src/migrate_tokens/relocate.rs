//! `relocate`: re-seals values whose row, owner, table or column got another name or key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use token_store::migration::{self, Former, RelocateReport};
use token_store::profile::Table;
use token_store::{TokenKey, TokenStore};

use super::migrate::{failure_lines, print_report};
use super::token::{key_values, split_escaped};
use super::{Options, connect};
use crate::exit::{CliError, Exit};
use crate::input;
use crate::progress::Progress;
use tokenseal::Settings;
use tokenseal::database::Access;
use tokenseal::hints;
use tokenseal::key_service::Load;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The row as it is named today: column=value,column=value; a comma inside a value is written \,
    #[arg(long, value_name = "k=v,k=v", requires = "was", required_unless_present = "map")]
    row: Option<String>,
    /// The differences when its values were sealed: table=…, column=… and key or owner columns
    #[arg(long, value_name = "k=v,k=v", conflicts_with = "map")]
    was: Option<String>,
    /// JSON lines: {"row": {…}, "was": {…}}, and "table" where it is not the profile's first
    #[arg(long, value_name = "FILE", conflicts_with = "row")]
    map: Option<PathBuf>,
    /// The table of --row; the profile's first if left out
    #[arg(long, conflicts_with = "map")]
    table: Option<String>,
    /// A key or owner column of the earlier address that the table no longer has; may be repeated
    #[arg(long = "former-column", value_name = "COLUMN")]
    former_columns: Vec<String>,
    /// Open and count everything, write nothing
    #[arg(long)]
    dry_run: bool,
    /// Read below the floor in this run; it is audited
    #[arg(long)]
    below_floor: bool,
}

/// One line of a map.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default)]
    table: Option<String>,
    row: BTreeMap<String, serde_json::Value>,
    was: BTreeMap<String, serde_json::Value>,
}

pub(super) async fn run(args: Args, mut settings: Settings, options: Options) -> Result<Exit, CliError> {
    let rows = match (&args.map, &args.row, &args.was) {
        (Some(file), ..) => from_file(file, &settings)?,
        (None, Some(row), Some(was)) => {
            let table = table(args.table.as_deref(), &settings)?;
            let key = TokenKey::from_values(key_values(table, row)?).in_table(&table.name);
            vec![(key, former(pairs(was)?.into_iter().map(|(name, value)| (name, Some(value)))))]
        }
        _ => return Err(CliError::usage("--row needs --was")),
    };
    settings.below_floor = args.below_floor;
    let access = if args.dry_run { Access::ReadOnly } else { Access::ReadWrite };
    let services = connect(settings, access, Load::EveryRow { rate: None }, &options).await?;
    rows.iter()
        .try_for_each(|(key, former)| check_columns(services.store(), key, former, &args.former_columns))?;
    let verb = if args.dry_run { "would have relocated" } else { "relocated" };
    let mut progress = Progress::new(verb, rows.len() as u64, options.no_progress);
    let update = |report: &RelocateReport| progress.update(report.relocated + report.already);
    let mut outcome = migration::relocate(services.store(), &rows, args.dry_run, update).await;
    progress.finish();
    hints::complete(&mut outcome.report.failures);
    let exit = if outcome.report.failed > 0 { Exit::Partial } else { Exit::Done };
    print_report(outcome.report, outcome.ended_by.map(CliError::from), exit, options, lines)
}

fn table<'a>(name: Option<&str>, settings: &'a Settings) -> Result<&'a Table, CliError> {
    settings.profile.table(name).ok_or_else(|| {
        let names: Vec<&str> = settings.profile.tables.iter().map(|table| table.name.as_str()).collect();
        CliError::usage_with_hint(
            "no table of the profile has this name",
            format!("one of {}", names.join(", ")),
        )
    })
}

fn pairs(text: &str) -> Result<Vec<(String, String)>, CliError> {
    let pairs = split_escaped(text).into_iter().map(|pair| match pair.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(CliError::usage_with_hint(
            format!("--was: {pair:?} is not column=value"),
            "--was table=users,column=mail,id=6",
        )),
    });
    pairs.collect()
}

fn former(pairs: impl IntoIterator<Item = (String, Option<String>)>) -> Former {
    let mut former = Former::default();
    for (name, value) in pairs {
        match name.as_str() {
            "table" => former.table = value,
            "column" => former.column = value,
            _ => former.columns.push((name, value)),
        }
    }
    former
}

/// Refuses a name that is neither part of today's address nor a column of the table: mistyped, it would only say that a
/// value does not open.
fn check_columns(
    store: &TokenStore,
    key: &TokenKey,
    former: &Former,
    gone: &[String],
) -> Result<(), CliError> {
    let Some(table) = store.profile().table(key.table()) else { return Ok(()) };
    let is_bound =
        |name: &str| table.key.iter().chain(&table.owner).any(|column| table.bound_column(column) == name);
    // Where a column was not bound, another one was in its place.
    if former.columns.iter().any(|(_, value)| value.is_none()) {
        return Ok(());
    }
    for (name, _) in former.columns.iter().filter(|(name, _)| !is_bound(name) && !gone.contains(name)) {
        if !store.has_column(key.table(), name)? {
            return Err(CliError::usage_with_hint(
                format!("was: table {:?} has no column {name:?}", table.name),
                format!(
                    "correct the name, or add --former-column {name} if its key or owner had such a column"
                ),
            ));
        }
    }
    Ok(())
}

fn from_file(file: &Path, settings: &Settings) -> Result<Vec<(TokenKey, Former)>, CliError> {
    let text = input::read_text(file)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(number, line)| from_line(number + 1, line, settings)).collect()
}

fn from_line(number: usize, line: &str, settings: &Settings) -> Result<(TokenKey, Former), CliError> {
    let wrong = |what: &str| {
        CliError::usage_with_hint(
            format!("--map: line {number}: {what}"),
            "one JSON object a line: {\"row\": {\"id\": \"7\"}, \"was\": {\"id\": \"6\"}}",
        )
    };
    // The parser's message may quote the line.
    let line: Line = serde_json::from_str(line).map_err(|_| wrong("is not such an object"))?;
    let table = table(line.table.as_deref(), settings)?;
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::Null => Ok(None),
        serde_json::Value::String(text) => Ok(Some(text.clone())),
        serde_json::Value::Number(number) => Ok(Some(number.to_string())),
        serde_json::Value::Bool(truth) => Ok(Some(truth.to_string())),
        _ => Err(wrong("a value is no text, number or null")),
    };
    if let Some(name) = line.row.keys().find(|name| !table.key.contains(name)) {
        return Err(wrong(&format!("{name:?} is not in the key of {:?}", table.name)));
    }
    let values = table.key.iter().map(|name| {
        let value = line.row.get(name).map(text).transpose()?.flatten();
        value.ok_or_else(|| wrong(&format!("{name:?} is missing in row")))
    });
    let key = TokenKey::from_values(values.collect::<Result<Vec<_>, _>>()?).in_table(&table.name);
    let was = line.was.iter().map(|(name, value)| Ok((name.clone(), text(value)?)));
    Ok((key, former(was.collect::<Result<Vec<_>, CliError>>()?)))
}

fn lines(report: &RelocateReport) -> String {
    let verb = if report.dry_run { "would be relocated" } else { "relocated" };
    let mut lines = vec![format!(
        "{} rows: {} {verb} ({} values), {} open where they are, {} failed",
        report.scanned, report.relocated, report.values, report.already, report.failed
    )];
    lines.extend(failure_lines(&report.failures));
    lines.join("\n")
}
