//! `status`: how the tokens are stored.

use serde::Serialize;
use token_store::status::{KeyUse, Status, key_use, status};
use token_store::{Floor, TokenStore};

use super::findings::Where;
use super::{Options, limits};
use crate::exit::{CliError, Exit};
use crate::output::{emit, note, printable, table};
use tokenseal::Settings;
use tokenseal::database::{self, Access};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Also count values by the key that they need
    #[arg(long)]
    keys: bool,
    /// Exit with code 4 while rows are not under the key service, or are below the floor
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    rows: Where,
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    status: Status,
    #[serde(flatten)]
    keys: Option<KeyUse>,
    /// Keys that are near the bound of their use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

pub(super) async fn run(args: Args, settings: Settings, options: Options) -> Result<Exit, CliError> {
    let database = database::open(&settings, Access::ReadOnly).await?;
    // Counting needs no key, and no version columns yet.
    let floor = settings.floor();
    let store = TokenStore::open_for_status(database, settings.profile, floor).await?;
    let store = args.rows.apply(store).await?;
    let keys = if args.keys { Some(key_use(&store).await?) } else { None };
    let warnings = keys.as_ref().map(limits::of_values).unwrap_or_default();
    warnings.iter().for_each(|warning| note(&format!("warning: {}", printable(warning))));
    let report = Report { status: status(&store).await?, keys, warnings };
    emit(options.format, &report, |report| {
        let keys = report.keys.as_ref().map(key_lines).unwrap_or_default();
        format!("{}{keys}", lines(&report.status))
    })?;
    let is_open = report.status.pending > 0 || report.status.below_floor > 0;
    Ok(if args.check && is_open { Exit::Problems } else { Exit::Done })
}

fn key_lines(usage: &KeyUse) -> String {
    let mut rows = table(&["key", "values"]);
    for key in &usage.keys {
        rows.add_row([printable(&key.key_id), key.values.to_string()]);
    }
    let caution = match usage.unreadable {
        0 => String::new(),
        values => format!(
            "\n{values} values do not say which key they need; treat no key as unused until this is 0"
        ),
    };
    format!("\n\n{rows}{caution}")
}

pub(super) fn lines(status: &Status) -> String {
    let mut rows = table(&["table", "version", "method", "key", "rows"]);
    for group in &status.groups {
        rows.add_row([
            group.table.clone(),
            group.encryption_version.map_or("-".into(), |version| version.to_string()),
            group.encryption_method.as_deref().map_or("-".into(), printable),
            group.encryption_key_id.as_deref().map_or("-".into(), printable),
            group.count.to_string(),
        ]);
    }
    let floor = match status.floor {
        Floor::Any => "any: every form is read".to_owned(),
        floor => format!("{floor}: {} rows are below it and not read", status.below_floor),
    };
    format!("{rows}\n\n{} rows, {} not under the key service\nfloor {floor}", status.total, status.pending)
}
