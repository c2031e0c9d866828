//! `get` and `put`: one token, for operators.

use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use token_store::profile::Table;
use token_store::{NewToken, TokenKey};
use zeroize::Zeroize as _;

use super::findings::condition;
use super::{Options, connect};
use crate::exit::{CliError, Exit};
use crate::output::{Format, emit, print_value};
use crate::stdin::{read_secret, without_line_break};
use tokenseal::Settings;
use tokenseal::database::Access;
use tokenseal::key_service::Load;

#[derive(clap::Args)]
pub(super) struct GetArgs {
    #[command(flatten)]
    cell: Cell,
    /// Print the value itself
    #[arg(long)]
    reveal: bool,
}

#[derive(clap::Args)]
pub(super) struct PutArgs {
    #[command(flatten)]
    cell: Cell,
    /// Take empty standard input for an empty token, and not for a pipe that broke
    #[arg(long)]
    allow_empty: bool,
    /// Also set this plain column, in the same statement; may be given several times
    #[arg(long = "set", value_name = "COLUMN=VALUE", value_parser = condition)]
    set: Vec<(String, String)>,
}

#[derive(clap::Args)]
struct Cell {
    /// The row, by its primary key: column=value,column=value; a comma inside a value is written \,
    #[arg(long, value_name = "k=v,k=v")]
    row: String,
    /// The token column; the profile's first if left out
    #[arg(long, value_name = "C")]
    column: Option<String>,
    /// The table; the profile's first if left out
    #[arg(long)]
    table: Option<String>,
}

#[derive(Serialize)]
struct Report {
    table: String,
    row: String,
    column: String,
    encryption_version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

pub(super) async fn run_get(args: GetArgs, settings: Settings, options: Options) -> Result<Exit, CliError> {
    let (table, column, key) = args.cell.resolve(&settings)?;
    let services = connect(settings, Access::ReadOnly, Load::Few, &options).await?;
    // A value of another column that does not open is no obstacle.
    let mut row = services.store().get_columns(&key, &[&column]).await.map_err(CliError::of_row)?;
    let encryption_version = row.encryption_version();
    let secret = row.take(&column)?;
    if args.reveal {
        let actor = services.store().actor().to_owned();
        let fields = [("actor", &*actor), ("table", &*table), ("row", &*args.cell.row), ("column", &*column)];
        options.record_reveal("token_revealed", &fields)?;
    }
    let value = secret.as_ref().filter(|_| args.reveal).map(|secret| secret.expose_secret().to_owned());
    let mut report = Report { table, row: args.cell.row, column, encryption_version, value };
    if let (Format::Human, Some(value)) = (options.format, &report.value) {
        print_value(value)?;
        report.value.zeroize();
        return Ok(Exit::Done);
    }
    emit(options.format, &report, |report| match (&report.value, secret.is_some()) {
        (Some(value), _) => value.clone(),
        (None, false) => format!("{} {}: {} is NULL", report.table, report.row, report.column),
        (None, true) => {
            format!("{} {}: {} opens; --reveal prints it", report.table, report.row, report.column)
        }
    })?;
    report.value.zeroize();
    Ok(Exit::Done)
}

pub(super) async fn run_put(args: PutArgs, settings: Settings, options: Options) -> Result<Exit, CliError> {
    let (table, column, key) = args.cell.resolve(&settings)?;
    let value = read_token(args.allow_empty).await?;
    let services = connect(settings, Access::ReadWrite, Load::Few, &options).await?;
    let mut new = NewToken::new().column(&column, Some(value));
    for (column, value) in args.set {
        new = new.plain(column, value);
    }
    let written = services.store().put(&key, new).await.map_err(CliError::of_row)?;
    let encryption_version = Some(i64::from(written.encryption_version));
    let report = Report { table, row: args.cell.row, column, encryption_version, value: None };
    emit(options.format, &report, |report| {
        let method = written.encryption_method.as_deref().unwrap_or("plaintext");
        format!("{} {}: {} written as {method}", report.table, report.row, report.column)
    })?;
    Ok(Exit::Done)
}

impl Cell {
    /// The table, column and key that the arguments name.
    fn resolve(&self, settings: &Settings) -> Result<(String, String, TokenKey), CliError> {
        let table = settings.profile.table(self.table.as_deref()).ok_or_else(|| {
            let names: Vec<&str> = settings.profile.tables.iter().map(|table| table.name.as_str()).collect();
            CliError::usage_with_hint(
                "--table names no table of the profile",
                format!("one of {}", names.join(", ")),
            )
        })?;
        let column = match &self.column {
            Some(column) if table.tokens.contains(column) => column.clone(),
            Some(column) => {
                return Err(CliError::usage_with_hint(
                    format!("--column {column:?} is no token column of {:?}", table.name),
                    format!("one of {}", table.tokens.join(", ")),
                ));
            }
            None => match table.tokens.first() {
                Some(column) => column.clone(),
                None => {
                    let problem =
                        format!("table {:?} has no token column, only fields of a service", table.name);
                    return Err(CliError::usage(problem));
                }
            },
        };
        let key = TokenKey::from_values(key_values(table, &self.row)?).in_table(&table.name);
        Ok((table.name.clone(), column, key))
    }
}

/// The primary key's values out of `column=value,…`, in the profile's order.
pub(super) fn key_values(table: &Table, row: &str) -> Result<Vec<String>, CliError> {
    let hint = format!(
        "--row {}",
        table.key.iter().map(|column| format!("{column}=…")).collect::<Vec<_>>().join(",")
    );
    let mut pairs = Vec::new();
    for pair in split_escaped(row) {
        let (column, value) = pair.split_once('=').ok_or_else(|| {
            CliError::usage_with_hint(format!("--row: {pair:?} is not column=value"), &hint)
        })?;
        if !table.key.iter().any(|name| name == column) {
            let problem = format!("--row: {column:?} is not in the primary key of {:?}", table.name);
            return Err(CliError::usage_with_hint(problem, &hint));
        }
        if pairs.iter().any(|(name, _)| name == column) {
            return Err(CliError::usage_with_hint(format!("--row: {column:?} is given twice"), &hint));
        }
        pairs.push((column.to_owned(), value.to_owned()));
    }
    let values = table.key.iter().map(|name| {
        let found = pairs.iter().find(|(column, _)| column == name).map(|(_, value)| value.clone());
        found.ok_or_else(|| CliError::usage_with_hint(format!("--row: {name:?} is missing"), &hint))
    });
    values.collect()
}

/// Splits at commas; a backslash takes the next character as it is, and `\u{1b}` is the character of that number, as reports
/// write a control character.
pub(super) fn split_escaped(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let last = parts.len() - 1;
        match character {
            ',' => parts.push(String::new()),
            '\\' => {
                let rest = characters.as_str();
                match numbered(rest) {
                    Some((character, length)) => {
                        parts[last].push(character);
                        characters = rest[length..].chars();
                    }
                    None => parts[last].extend(characters.next()),
                }
            }
            other => parts[last].push(other),
        }
    }
    parts
}

/// The character that `u{…}` at the start of a text means, and its length.
fn numbered(text: &str) -> Option<(char, usize)> {
    let (digits, _) = text.strip_prefix("u{")?.split_once('}')?;
    let character = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
    Some((character, digits.len() + 3))
}

/// The token on standard input. An empty input is far more often a broken pipe than intended.
pub(super) async fn read_token(allow_empty: bool) -> Result<SecretString, CliError> {
    let bytes = read_secret().await?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        CliError::usage_with_hint(
            "standard input is not UTF-8 text",
            "encode it first, as base64 for example",
        )
    })?;
    let text = without_line_break(text);
    if text.is_empty() && !allow_empty {
        return Err(CliError::usage_with_hint(
            "standard input is empty",
            "pipe the token in: echo -n \"$TOKEN\" | …; --allow-empty writes an empty one",
        ));
    }
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use super::split_escaped;

    #[test]
    fn commas_in_values_are_escaped() {
        assert_eq!(split_escaped(r"a=1,b=x\,y\\z"), ["a=1", r"b=x,y\z"]);
        assert_eq!(split_escaped(r"a=\u{1b}[2J,b=\u\u{x}"), ["a=\u{1b}[2J", "b=uu{x}"]);
        assert_eq!(split_escaped(""), [""]);
    }
}
